"""Reading videos: timing, orientation, colour, damage."""

import os

import av
import numpy as np
import pytest
from make_media import clicks, encode_audio, grey_frame, index_of, level_of, tone, write_audio, write_video
from PIL import Image

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.video import probe_video, read_video

BT709, BT601 = 1, 5


def numbered(n, **size):
    return [grey_frame(level_of(i), **size) for i in range(n)]


def indices(path, **options):
    return [index_of(frame) for frame in read_video(path, **options)]


def test_same_rate_passes_one_to_one(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(30))
    assert indices(path) == list(range(30))


def test_thirty_to_twenty_five_drops_one_in_six(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(60), rate=30)
    got = indices(path)
    assert len(got) == 50
    times = np.array(got) / 30
    assert np.abs(times - np.arange(50) / 25).max() <= 0.5 / 25  # never further than half a frame
    assert set(np.diff(got)) == {1, 2}


def test_slow_source_repeats_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(5), rate=5)
    assert indices(path) == [i for i in range(5) for _ in range(5)]


def test_variable_rate_follows_the_time_stamps(tmp_path):
    times = [0, 0.04, 0.20, 0.21, 0.22, 0.40]
    path = write_video(tmp_path / "a.mp4", numbered(6), times=times)
    #        0     40    80    120   160   200   240   280   320   360   400 ms
    assert indices(path)[:11] == [0, 1, 1, 1, 1, 3, 4, 4, 4, 4, 5]


def test_jittered_time_stamps_do_not_drop_frames(tmp_path):
    jitter = np.random.default_rng(0).uniform(-0.009, 0.009, 40)
    path = write_video(tmp_path / "a.mkv", numbered(40), times=np.arange(40) / 25 + 0.02 + jitter)
    assert indices(path) == list(range(40))


def test_a_late_first_time_stamp_is_time_zero(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered(10), times=3 + np.arange(10) / 25)
    assert indices(path) == list(range(10))


@pytest.mark.parametrize("start", [0.4, 1.2])
def test_start_and_duration(tmp_path, start):
    path = write_video(tmp_path / "a.mp4", numbered(50))
    first = round(start * 25)
    assert indices(path, start=start, duration=0.4) == list(range(first, first + 10))


def test_a_late_start_seeks_to_the_same_frames(tmp_path):
    frames = [grey_frame(level_of(i % 60)) for i in range(200)]
    path = write_video(tmp_path / "a.mp4", frames, gop_size=12)
    whole = indices(path)
    assert indices(path, start=5.0) == whole[125:]
    assert indices(path, start=6.52, duration=0.2) == whole[163:168]


def test_start_beyond_the_end_is_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(10))
    for start in (2.0, 20.0):
        with pytest.raises(UserError, match="ends before"):
            list(read_video(path, start=start))


def test_reading_again_starts_over(tmp_path):
    reader = read_video(write_video(tmp_path / "a.mp4", numbered(10)))
    with reader:
        frames = iter(reader)
        next(frames), next(frames)
        assert [index_of(f) for f in reader] == list(range(10))


def test_repeated_frames_are_separate_arrays(tmp_path):
    first, second = list(read_video(write_video(tmp_path / "a.mp4", numbered(2), rate=10)))[:2]
    first[:] = 0
    assert second.mean() > 10


def corner_frame():
    """Red upper left quarter, green upper right, blue lower left, white lower right."""
    frame = np.zeros((48, 96, 3), np.uint8)
    frame[:24, :48, 0] = frame[:24, 48:, 1] = frame[24:, :48, 2] = 220
    frame[24:, 48:] = 220
    return frame


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_rotation_metadata_is_honoured(tmp_path, angle):
    frame = corner_frame()
    path = write_video(tmp_path / "a.mp4", [frame] * 3, rotation=angle)
    info = probe_video(path)
    shown = np.rot90(frame, angle // 90)  # the display matrix turns counter-clockwise, as rot90 does
    assert (info.height, info.width) == shown.shape[:2] and info.rotation % 360 == angle % 360
    got = next(iter(read_video(path)))
    assert got.shape == shown.shape and got.flags.c_contiguous
    assert np.abs(got.astype(int) - shown).mean() < 6  # only the chroma edges differ


def test_mirrored_video_is_shown_mirrored(tmp_path):
    frame = corner_frame()
    path = write_video(tmp_path / "a.mp4", [frame] * 3, mirror=True)
    assert np.abs(next(iter(read_video(path))).astype(int) - frame[:, ::-1]).mean() < 6


def test_odd_sizes_are_kept(tmp_path):
    frames = [grey_frame(100, width=63, height=47)] * 3
    path = write_video(tmp_path / "a.mp4", frames, pix_fmt="yuv444p")
    assert next(iter(read_video(path))).shape == (47, 63, 3)


def test_non_square_pixels_are_reported(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(2), sample_aspect_ratio=2, rotation=90)
    assert probe_video(path).sample_aspect == 0.5


def yuv_of(rgb, kr, kb, full):
    """Numbers of ITU-R BT.601 / BT.709 in 8 bits."""
    r, g, b = np.asarray(rgb) / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    luma, chroma, foot = (255, 255, 0) if full else (219, 224, 16)
    return [round(y * luma + foot), round(cb * chroma + 128), round(cr * chroma + 128)]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix, kr, kb", [(BT709, 0.2126, 0.0722), (BT601, 0.299, 0.114)])
@pytest.mark.parametrize("colour", [(200, 60, 40), (40, 180, 90), (30, 60, 210), (128, 128, 128)])
def test_matrix_and_range_are_honoured(tmp_path, matrix, kr, kb, full, colour):
    planes = np.stack([np.full((48, 64), v, np.uint8) for v in yuv_of(colour, kr, kb, full)])
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", 25, {"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    got = next(iter(read_video(tmp_path / "a.mp4")))
    assert np.abs(got.astype(int) - colour).max() <= 2


def test_ten_bit_source_is_read(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered(4), codec="ffv1", pix_fmt="yuv420p10le", options={})
    assert indices(path) == [0, 1, 2, 3]


def test_truncated_file_gives_what_decodes_and_one_warning(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (50, 48, 64, 3), np.uint8)
    options = {"movflags": "faststart"}
    whole = write_video(tmp_path / "whole.mp4", list(noise), gop_size=5)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "fast.mp4"), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "fast.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    reader = read_video(cut)
    n = sum(1 for _ in reader)
    assert 10 < n < 40
    assert len(reader.warnings) == 1 and "cut off" in reader.warnings[0]


def test_whole_file_gives_no_warning(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(20), audio=("aac", 16000, tone(0.8, 16000)))
    reader = read_video(path)
    assert len(list(reader)) == 20 and reader.warnings == [] and reader.info.has_audio


@pytest.mark.parametrize("name", ["with space.mp4", 'quo\'te "s".mp4', "видео 語 ü.mp4", "a:b%03d#?.mp4"])
def test_unusual_names_work(tmp_path, name):
    path = write_video(tmp_path / "plain.mp4", numbered(3))
    os.rename(path, tmp_path / name)
    assert indices(tmp_path / name) == [0, 1, 2]


def test_attached_picture_is_not_the_video(tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "cover.png")
    with av.open(str(tmp_path / "song.mp3"), "w") as target, av.open(str(tmp_path / "cover.png")) as cover:
        sound = target.add_stream("libmp3lame", rate=44100, layout="mono")
        picture = target.add_stream_from_template(cover.streams.video[0], opaque=True)
        picture.disposition = av.stream.Disposition.attached_pic
        packet = next(cover.demux(video=0))
        packet.stream, packet.pts, packet.dts = picture, 0, 0
        target.mux(packet)
        encode_audio(target, sound, clicks(1.0, 44100))
    with pytest.raises(UserError, match="no video track"):
        probe_video(tmp_path / "song.mp3")


def bad_file(tmp_path, case):
    path = tmp_path / "bad.mp4"
    if case == "empty":
        path.write_bytes(b"")
    elif case == "junk":
        path.write_bytes(b"not a video at all" * 999)
    elif case == "folder":
        path.mkdir()
    elif case == "audio":
        path = write_audio(tmp_path / "a.wav", tone(0.5, 16000), 16000, "pcm_s16le")
    elif case in ("png", "jpg", "webp", "gif", "bmp"):
        path = tmp_path / f"a.{case}"
        Image.new("RGB", (64, 48), "red").save(path)
    elif case == "image named as video":
        Image.new("RGB", (64, 48), "red").save(path, format="PNG")
    elif case == "index lost":
        whole = write_video(tmp_path / "whole.mp4", numbered(20)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif case == "pictures destroyed":
        data = bytearray(write_video(tmp_path / "whole.mp4", numbered(20)).read_bytes())
        start, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
        data[start:end] = bytes(end - start)
        path.write_bytes(data)
    return path


CASES = {
    "missing": "does not exist",
    "empty": "empty",
    "junk": "can't be read",
    "folder": "is a folder",
    "audio": "no video track",
    "png": "still image",
    "jpg": "still image",
    "webp": "still image",
    "bmp": "still image",
    "gif": "still image",
    "image named as video": "still image",
    "index lost": "can't be read",
    "pictures destroyed": "can be decoded",
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(tmp_path, case):
    path = bad_file(tmp_path, case)
    with pytest.raises(UserError, match=CASES[case]) as caught:
        read_video(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and message.endswith(".")
