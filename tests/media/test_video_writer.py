"""Writing videos: pictures, soundtrack, and nothing left behind when it fails."""

import av
import numpy as np
import pytest
from make_media import clicks, grey_frame, index_of, level_of, tone, write_audio, write_video

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.audio import load_audio, probe_audio
from lipforcing_jax.media.video import probe_video, read_video
from lipforcing_jax.media.video_writer import VideoWriter, check_output


def save(path, n=50, **options):
    with VideoWriter(path, 64, 48, **options) as writer:
        for i in range(n):
            writer.write(grey_frame(level_of(i % 60)))
    return path


def soft_picture(height=96, width=128):
    """Smooth colours that 4:2:0 keeps, so that what differs is a shift of colour."""
    y, x = np.mgrid[0:height, 0:width] / (height, width)[0]
    waves = [np.sin(2.1 * x + 1.3 * y), np.cos(1.7 * x - 2.3 * y), np.sin(1.1 * x * y + 2)]
    return np.clip(127 + 90 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv"])
def test_frames_and_sound_come_back(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", audio=tone(2.0, 16000)[0])
    assert [index_of(f) for f in read_video(path)] == [i % 60 for i in range(50)]
    assert probe_audio(path).codec == "aac"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.pix_fmt) == ("h264", 25, "yuv420p")
        frame = next(container.decode(stream))
        assert (frame.colorspace, frame.color_range) == (1, 1)


def test_colours_do_not_shift(tmp_path):
    picture = soft_picture()
    for _ in range(2):  # generations add up what one would hide
        with VideoWriter(tmp_path / "a.mp4", 128, 96, crf=1) as writer:
            for _ in range(3):
                writer.write(picture)
        picture = next(iter(read_video(tmp_path / "a.mp4")))
    difference = picture.astype(float) - soft_picture()
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.5
    assert np.sqrt((difference**2).mean()) < 2


def test_odd_size_is_kept_and_told(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 63, 47) as writer:
        writer.write(grey_frame(100, 63, 47))
    assert next(iter(read_video(tmp_path / "a.mp4"))).shape == (47, 63, 3)
    assert len(writer.warnings) == 1 and "63x47" in writer.warnings[0]


def test_other_rates_and_pixel_aspect(tmp_path):
    path = save(tmp_path / "a.mp4", n=10, fps=30000 / 1001, sample_aspect=probe_aspect(tmp_path))
    info = probe_video(path)
    assert info.fps == pytest.approx(29.97, abs=1e-3) and info.sample_aspect == 2


def probe_aspect(tmp_path):
    path = write_video(tmp_path / "wide.mp4", [grey_frame(90)] * 2, sample_aspect_ratio=2)
    return probe_video(path).sample_aspect


def source(tmp_path, kind, seconds=4.0):
    name, codec, rate, channels = SOURCES[kind]
    return write_audio(tmp_path / name, clicks(seconds, rate, channels), rate, codec)


# kind: file, encoder, rate, channels
SOURCES = {
    "aac": ("s.m4a", "aac", 44100, 2),
    "adts": ("s.aac", "aac", 44100, 2),
    "mp3": ("s.mp3", "libmp3lame", 44100, 2),
    "flac": ("s.flac", "flac", 48000, 1),
    "opus": ("s.ogg", "libopus", 48000, 2),
    "wav": ("s.wav", "pcm_s16le", 22050, 2),
    "odd rate": ("s.wav", "pcm_s16le", 37800, 1),
}


@pytest.mark.parametrize(
    "kind, suffix, codec",
    [
        ("aac", ".mp4", "aac"),
        ("adts", ".mp4", "aac"),
        ("mp3", ".mp4", "mp3"),
        ("flac", ".mp4", "flac"),
        ("opus", ".mp4", "opus"),
        ("aac", ".mkv", "aac"),
        ("opus", ".mkv", "opus"),
        ("wav", ".mkv", "pcm_s16le"),
    ],
)
def test_sound_is_copied_where_the_container_takes_it(tmp_path, kind, suffix, codec):
    given = source(tmp_path, kind)
    path = save(tmp_path / f"a{suffix}", audio=given)
    info, before = probe_audio(path), probe_audio(given)
    assert (info.codec, info.rate, info.channels) == (codec, before.rate, before.channels)
    assert set(packets(path)[1:-1]) <= set(packets(given))


def test_raw_sound_is_copied_into_mov(tmp_path):
    given = source(tmp_path, "wav")
    path = save(tmp_path / "a.mov", audio=given)
    assert probe_audio(path).codec == "pcm_s16le"
    assert np.array_equal(load_audio(path)[:31000], load_audio(given)[:31000])  # packets are cut anew


def packets(path):
    """The audio packets without ADTS headers, which MP4 does away with."""
    with av.open(str(path)) as container:
        data = [bytes(p) for p in container.demux(audio=0) if p.size]
    return [d[7:] for d in data] if str(path).endswith(".aac") else data


@pytest.mark.parametrize("kind, rate, channels", [("wav", 22050, 2), ("odd rate", 44100, 1)])
def test_other_sound_becomes_aac_at_its_own_rate(tmp_path, kind, rate, channels):
    info = probe_audio(save(tmp_path / "a.mp4", audio=source(tmp_path, kind)))
    assert (info.codec, info.rate, info.channels) == ("aac", rate, channels)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("start", [0.0, 1.01])
@pytest.mark.parametrize("kind", ["aac", "mp3", "opus", "flac", "wav"])
def test_sound_is_in_place_and_cut_to_the_video(tmp_path, kind, start, suffix):
    given = source(tmp_path, kind)
    path = save(tmp_path / f"a{suffix}", audio=given, audio_start=start)
    written, expected = load_audio(path), load_audio(given, start=start, duration=2.0)
    lag = np.argmax(np.correlate(written[:32000], expected, "full")) - (len(expected) - 1)
    assert abs(lag / 16000 + first_sound(path)) < 0.002
    assert abs(len(written) / 16000 + first_sound(path) - 2.0) < 0.1  # to a packet
    with av.open(str(path)) as container:
        assert abs(container.duration / av.time_base - 2.0) < (0.002 if suffix == ".mp4" else 0.1)


def first_sound(path):
    """Seconds from the first picture to the first sample."""
    times = []
    for kind in ("video", "audio"):
        with av.open(str(path)) as container:
            times.append(next(container.decode(**{kind: 0})).time)
    return times[1] - times[0]


def test_short_sound_ends_early_and_duration_limits_it(tmp_path):
    path = save(tmp_path / "a.mp4", audio=tone(0.5, 16000)[0])
    assert len(list(read_video(path))) == 50 and len(load_audio(path)) / 16000 < 0.6
    limited = save(tmp_path / "b.mp4", audio=source(tmp_path, "aac"), audio_duration=1.0)
    assert len(load_audio(limited)) / 16000 == pytest.approx(1.0, abs=0.03)


def test_surround_sound_is_encoded_with_its_channels(tmp_path):
    given = write_audio(tmp_path / "s.wav", tone(1.0, 48000, channels=6), 48000, "pcm_s16le", "5.1")
    assert probe_audio(save(tmp_path / "a.mp4", audio=given)).channels == 6


def test_video_without_sound(tmp_path):
    assert not probe_video(save(tmp_path / "a.mp4", n=3)).has_audio


@pytest.mark.parametrize("name", ["with space.mp4", 'quo\'te "s".mp4', "видео 語 ü.mp4", "a:b%03d#?.mp4"])
def test_unusual_names_work(tmp_path, name):
    assert len(list(read_video(save(tmp_path / name, n=3)))) == 3
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_failure_leaves_no_file_and_the_old_one_untouched(tmp_path):
    old = tmp_path / "old.mp4"
    old.write_bytes(b"precious")
    for path in (old, tmp_path / "new.mp4"):
        with pytest.raises(KeyboardInterrupt), VideoWriter(path, 64, 48, audio=tone(1, 16000)[0]) as writer:
            writer.write(grey_frame(90))
            raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["old.mp4"] and old.read_bytes() == b"precious"


def test_bad_sound_leaves_no_file(tmp_path):
    for audio in (tmp_path / "missing.wav", write_video(tmp_path / "silent.mp4", [grey_frame(9)] * 2)):
        with pytest.raises(UserError):
            VideoWriter(tmp_path / "out.mp4", 64, 48, audio=audio)
    assert [p.name for p in tmp_path.iterdir()] == ["silent.mp4"]


def test_no_frames_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"), VideoWriter(tmp_path / "out.mp4", 64, 48):
        pass
    assert not list(tmp_path.iterdir())


def test_wrong_frame_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(tmp_path / "out.mp4", 64, 48) as writer,
    ):
        writer.write(grey_frame(9, width=48, height=64))
    assert not list(tmp_path.iterdir())


def test_finished_file_replaces_the_old_one_with_usual_permissions(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    plain = tmp_path / "plain"
    plain.touch()
    save(path, n=3)
    assert len(list(read_video(path))) == 3
    assert path.stat().st_mode == plain.stat().st_mode


def test_check_output(tmp_path):
    assert check_output(tmp_path / "a.MP4") == tmp_path / "a.MP4"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for path, words in [
        (tmp_path / "no" / "such" / "a.mp4", "does not exist"),
        (tmp_path / "a.xyz", "must end in"),
        (tmp_path / "a", "must end in"),
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a.mp4", "does not exist"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            check_output(path)
        assert "\n" not in str(caught.value)


def test_folder_that_refuses_files(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)  # a superuser may write anywhere
    with pytest.raises(UserError, match="not writable"):
        check_output(tmp_path / "a.mp4")
