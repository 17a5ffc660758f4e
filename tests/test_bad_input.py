"""Sound and pictures that are odd but usable, and outputs that must be refused before any work."""

import wave
from pathlib import Path

import numpy as np
import pytest

from lipforcing_jax import cli
from lipforcing_jax.compiled_programs import keep_compiled_programs
from lipforcing_jax.evaluation.demo import demo_inputs
from lipforcing_jax.media.video import read_video
from lipforcing_jax.media.video_writer import VideoWriter

VIDEO, SPEECH = demo_inputs()
SECONDS = 0.5


def run(capsys, *arguments) -> tuple[int, list[str]]:
    """Exit status and the lines on standard error."""
    status = cli.main([str(a) for a in arguments])
    return status, [line for line in capsys.readouterr().err.splitlines() if line.strip()]


def sync(capsys, folder: Path, video=VIDEO, audio=SPEECH, out=None, *more):
    return run(capsys, "sync", "--video", video, "--audio", audio, "--out", out or folder / "out.mp4", *more)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """Samples float [n, channels] in [-1, 1] as 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("devices, reason", [("9", "9 devices are asked for and this process"), ("0", "not a number")])
def test_devices_that_are_not_there_are_refused(capsys, tmp_path, devices, reason):
    status, lines = sync(capsys, tmp_path, VIDEO, SPEECH, None, "--devices", devices)
    assert status == 2 and len(lines) == 1 and reason in lines[0]


def tone(rate: int, channels: int) -> np.ndarray:
    wave_form = 0.2 * np.sin(2 * np.pi * 220 * np.arange(round(SECONDS * rate)) / rate)
    return np.repeat(wave_form[:, None], channels, axis=1)


def length(path: Path) -> int:
    return sum(1 for _ in read_video(path))


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2), (44100, 6), (96000, 1)])
def test_any_rate_and_channel_count_works(capsys, tmp_path, rate, channels):
    audio = write_wav(tmp_path / "tone.wav", tone(rate, channels), rate)
    assert sync(capsys, tmp_path, audio=audio) == (0, [])
    assert length(tmp_path / "out.mp4") == int(SECONDS * 25)


def test_silence_is_used_with_a_warning(capsys, tmp_path):
    audio = write_wav(tmp_path / "silence.wav", np.zeros((8000, 1)))
    status, lines = sync(capsys, tmp_path, audio=audio)
    assert status == 0 and len(lines) == 1 and "silent" in lines[0]


def test_sound_of_no_length_is_refused(capsys, tmp_path):
    audio = write_wav(tmp_path / "zero.wav", np.zeros((0, 1)))
    status, lines = sync(capsys, tmp_path, audio=audio)
    assert status == 2 and len(lines) == 1 and "zero.wav" in lines[0]
    assert not (tmp_path / "out.mp4").exists()


def test_sound_shorter_than_a_frame_is_refused(capsys, tmp_path):
    audio = write_wav(tmp_path / "click.wav", np.full((200, 1), 0.1))
    status, lines = sync(capsys, tmp_path, audio=audio)
    assert status == 2 and len(lines) == 1 and "0.04 s" in lines[0]


def test_truncated_video_is_used_with_a_warning(capsys, tmp_path):
    """Matroska states its length at the front, so half of a file can be read and is known to be half."""
    whole = tmp_path / "whole.mkv"
    with VideoWriter(whole, 360, 360) as writer:
        for frame in read_video(VIDEO, duration=2.0):
            writer.write(frame)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    status, lines = sync(capsys, tmp_path, cut, SPEECH, None, "--duration", 2)
    assert status == 0 and len(lines) == 1 and "cut.mkv" in lines[0]
    assert length(tmp_path / "out.mp4") == 50


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("option", ["--out", "--report"])
def test_folder_that_is_not_writable(capsys, tmp_path, option):
    place = f"/proc/lipforcing{'.mp4' if option == '--out' else '.json'}"
    given = {"--out": tmp_path / "out.mp4", option: place}
    arguments = [part for pair in given.items() for part in pair]
    status, lines = run(capsys, "sync", "--video", VIDEO, "--audio", SPEECH, *arguments)
    assert status == 2 and len(lines) == 1 and "/proc" in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("role", ["video", "audio"])
def test_an_input_is_never_overwritten(capsys, tmp_path, role):
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(VIDEO.read_bytes())
    inputs = {"video": VIDEO, "audio": VIDEO, role: mine}
    status, lines = sync(capsys, tmp_path, out=mine, **inputs)
    assert status == 2 and len(lines) == 1 and "overwrite" in lines[0]
    assert mine.read_bytes() == VIDEO.read_bytes()


def test_commands_with_a_folder_say_that_it_cannot_be_made(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "folder"
    for arguments in (["demo", "--out-dir", inside], ["eval-talkers", "--out-dir", inside]):
        status, lines = run(capsys, *arguments)
        assert status == 2 and len(lines) == 1 and str(inside) in lines[0]


def test_unusable_cache_folder_costs_nothing_but_time(capsys, tmp_path, monkeypatch):
    import jax

    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before
