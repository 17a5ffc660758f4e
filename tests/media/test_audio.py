"""Loading sound: rates, channels, formats, lengths, damage."""

import struct

import numpy as np
import pytest
from make_media import clicks, grey_frame, tone, write_audio, write_video

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.audio import load_audio, probe_audio


def tone_error(samples, frequency=300.0, amplitude=0.3):
    """Greatest difference to the 16 kHz tone, leaving out the edges where the resampler rings."""
    expected = tone(len(samples) / 16000, 16000, frequency, amplitude=amplitude)[0]
    return np.abs(samples - expected)[400:-400].max()


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_any_rate_becomes_sixteen_thousand(tmp_path, rate):
    path = write_audio(tmp_path / "a.wav", tone(1.0, rate), rate, "pcm_s16le")
    samples = load_audio(path)
    assert samples.shape == (16000,) and samples.dtype == np.float32
    assert tone_error(samples) < 2e-3


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_any_sample_format(tmp_path, codec):
    path = write_audio(tmp_path / "a.wav", tone(0.5, 16000), 16000, codec)
    assert tone_error(load_audio(path)) < (0.01 if codec == "pcm_u8" else 1e-4)


@pytest.mark.parametrize(
    "name, codec", [("a.flac", "flac"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac")]
)
def test_compressed_sound_is_in_place(tmp_path, name, codec):
    sound = clicks(2.0, 16000)
    samples = load_audio(write_audio(tmp_path / name, sound, 16000, codec))
    n = min(len(samples), 32000)
    lag = np.argmax(np.correlate(samples[:n], sound[0, :n], "full")) - (n - 1)
    assert abs(lag) <= 2
    assert abs(len(samples) - 32000) <= 1152


@pytest.mark.parametrize("layout, channels", [("mono", 1), ("stereo", 2), ("2.1", 3), ("5.1", 6)])
def test_any_channel_count_becomes_mono(tmp_path, layout, channels):
    path = write_audio(tmp_path / "a.wav", tone(0.5, 16000, channels=channels), 16000, "pcm_f32le", layout)
    assert probe_audio(path).channels == channels
    samples = load_audio(path)
    assert samples.shape == (8000,)
    scale = np.abs(samples).max() / 0.3
    assert tone_error(samples / scale) < 2e-3 and 0.9 < scale <= 1 / 0.3


def test_a_title_need_not_be_utf8(tmp_path):
    path = write_audio(tmp_path / "a.wav", tone(0.5, 16000), 16000, "pcm_s16le")
    title = b"INFOINAM" + struct.pack("<I", 6) + b"caf\xe9\0\0"
    content = path.read_bytes()[8:] + b"LIST" + struct.pack("<I", len(title)) + title
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    assert tone_error(load_audio(path)) < 1e-4


def test_channels_are_averaged(tmp_path):
    sound = np.concatenate([tone(0.5, 16000), 0 * tone(0.5, 16000)])
    assert tone_error(2 * load_audio(write_audio(tmp_path / "a.wav", sound, 16000, "pcm_f32le"))) < 1e-4


def test_loud_sound_stays_in_range(tmp_path):
    path = write_audio(tmp_path / "a.wav", tone(0.5, 44100, amplitude=1.8), 44100, "pcm_f32le")
    assert np.abs(load_audio(path)).max() == 1.0


def test_length_is_that_of_the_decoded_samples(tmp_path):
    """A header that promises more than the file holds does not make the audio longer."""
    data = bytearray(write_audio(tmp_path / "a.wav", tone(2.0, 16000), 16000, "pcm_s16le").read_bytes())
    cut = tmp_path / "cut.wav"
    cut.write_bytes(data[: len(data) // 2])
    warnings = []
    assert 16000 - 1024 <= len(load_audio(cut, warnings=warnings)) <= 16000
    assert len(warnings) == 1 and "cut off" in warnings[0] and "cut.wav" in warnings[0]
    load_audio(cut, start=0.1, duration=0.2, warnings=warnings)  # not read to the end: nothing to tell
    assert len(warnings) == 1


def test_start_and_duration_cut_exactly(tmp_path):
    path = write_audio(tmp_path / "a.flac", clicks(3.0, 44100), 44100, "flac")
    whole = load_audio(path)
    part = load_audio(path, start=0.5, duration=1.25)
    assert len(part) == 20000
    assert np.abs(part - whole[8000:28000])[200:-200].max() < 1e-3


def test_video_file_as_source(tmp_path):
    path = write_video(tmp_path / "a.mp4", [grey_frame(90)] * 25, audio=("aac", 44100, tone(1.0, 44100)))
    info = probe_audio(path)
    assert (info.rate, info.channels, info.codec) == (44100, 1, "aac")
    assert info.duration == pytest.approx(1.0, abs=0.05)
    error = load_audio(path)[:16000] - tone(1.0, 16000)[0]
    assert np.abs(error).mean() < 0.03  # libav's AAC at its default bit rate


def test_silence_and_very_short_sound_are_fine(tmp_path):
    silent = write_audio(tmp_path / "a.wav", np.zeros((2, 22050), np.float32), 22050, "pcm_s16le")
    assert load_audio(silent).shape == (16000,) and not load_audio(silent).any()
    assert load_audio(write_audio(tmp_path / "b.wav", tone(0.01, 48000), 48000, "pcm_s16le")).shape == (160,)


def test_not_a_number_becomes_silence(tmp_path):
    sound = tone(0.5, 16000)
    sound[0, 3000:3100] = np.nan
    samples = load_audio(write_audio(tmp_path / "a.wav", sound, 16000, "pcm_f32le"))
    assert np.isfinite(samples).all() and not samples[3000:3100].any()


def bad_file(tmp_path, case):
    path = tmp_path / "bad.wav"
    if case == "empty":
        path.write_bytes(b"")
    elif case == "junk":
        path.write_bytes(b"not a sound at all" * 999)
    elif case == "folder":
        path.mkdir()
    elif case == "no samples":
        whole = write_audio(tmp_path / "whole.wav", tone(0.1, 16000), 16000, "pcm_s16le").read_bytes()
        header = bytearray(whole[: whole.find(b"data") + 8])
        header[-4:] = bytes(4)
        path.write_bytes(header)
    elif case == "silent film":
        path = write_video(tmp_path / "film.mp4", [grey_frame(90)] * 3)
    return path


CASES = {
    "missing": "does not exist",
    "empty": "is empty",
    "junk": "can't be read",
    "folder": "is a folder",
    "no samples": "is empty",
    "silent film": "no audio track",
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(tmp_path, case):
    path = bad_file(tmp_path, case)
    with pytest.raises(UserError, match=CASES[case]) as caught:
        load_audio(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and message.endswith(".")


def test_start_beyond_the_end_is_told(tmp_path):
    path = write_audio(tmp_path / "a.wav", tone(0.5, 16000), 16000, "pcm_s16le")
    with pytest.raises(UserError, match="no sound after 3 s"):
        load_audio(path, start=3)
