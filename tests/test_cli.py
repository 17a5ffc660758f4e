"""The command as a user meets it: results, closing line, and one sentence for every bad input."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.evaluation.demo import demo_inputs
from lipforcing_jax.media.video import read_video
from lipforcing_jax.media.video_writer import VideoWriter

VIDEO, SPEECH = demo_inputs()


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """One second of sound."""
    import wave

    path = tmp_path_factory.mktemp("sound") / "one second.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        noise = np.random.default_rng(0).normal(0, 3000, 16000) * np.sin(np.arange(16000) / 900) ** 2
        file.writeframes(noise.astype("<i2").tobytes())
    return path


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, folder: Path, *arguments) -> str:
    """Asserts a proper refusal and returns its sentence."""
    before = sorted(folder.iterdir()) if folder.exists() else None
    status, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert status == 2 and out == "" and len(lines) == 1, (status, out, err)
    assert lines[0].startswith("lipforcing: error: ") and lines[0].endswith("."), lines[0]
    assert (sorted(folder.iterdir()) if folder.exists() else None) == before, "something was left behind"
    return lines[0]


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read_video(path)))


def test_sync_covers_the_sound_and_reports(capsys, tmp_path, speech):
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    status, line, err = run(
        capsys, "sync", "--video", VIDEO, "--audio", speech, "--out", out, "--report", report, "--save-aligned",
        "--save-comparison",
    )  # fmt: skip
    assert status == 0 and err == ""
    assert line.count("\n") == 1 and "25 frames" in line and "0 passed through" in line
    source, result = frames_of(VIDEO)[:25], frames_of(out)
    assert result.shape == source.shape
    moved = np.abs(source.astype(int) - result).mean(axis=(0, 3))
    assert 0.005 < (moved > 3).mean() < 0.5, "only a part of the picture changes"
    record = json.loads(report.read_text())
    assert record["frames"] == 25 and record["chunks"] == 3 and record["seed"] == 42
    assert {"fps", "stages", "time_to_first_frame", "versions", "weights_sha256", "bridged"} <= record.keys()
    assert frames_of(tmp_path / "out_aligned.mp4").shape == (25, 128, 128, 3)
    assert frames_of(tmp_path / "out_comparison.mp4").shape[2] == 2 * source.shape[2]
    with av.open(str(out)) as container:
        assert container.streams.audio and float(container.streams.video[0].average_rate) == 25


def test_same_seed_same_frames_and_names_of_any_kind(capsys, tmp_path, speech):
    odd = tmp_path / "it's \"Übung\" 動画.mp4"
    other = tmp_path / "zweite.mp4"
    for out in (odd, other):
        status, _, err = run(
            capsys, "sync", "--video", VIDEO, "--audio", speech, "--out", out, "--duration", 0.5, "--seed", 7
        )
        assert status == 0, err
    np.testing.assert_array_equal(frames_of(odd), frames_of(other))


def test_reference_length_drops_the_rest_of_a_chunk(capsys, tmp_path, speech):
    out = tmp_path / "out.mp4"
    status, _, _ = run(capsys, "sync", "--video", VIDEO, "--audio", speech, "--out", out, "--reference-length")
    assert status == 0 and len(frames_of(out)) == 21


def test_loop_none_ends_with_the_video(capsys, tmp_path, speech):
    out, start = tmp_path / "out.mp4", len(frames_of(VIDEO)) / 25 - 0.4
    arguments = ("sync", "--video", VIDEO, "--audio", speech, "--out", out, "--start", start, "--loop", "none")
    assert run(capsys, *arguments)[0] == 0
    assert len(frames_of(out)) == 10


def test_sound_shorter_than_a_chunk_is_used_with_a_warning(capsys, tmp_path, speech):
    out = tmp_path / "out.mp4"
    status, _, err = run(capsys, "sync", "--video", VIDEO, "--audio", speech, "--out", out, "--duration", 0.12)
    assert status == 0 and err.count("\n") == 1 and "warning" in err
    assert len(frames_of(out)) == 3


def write_video(path: Path, frames) -> Path:
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0]) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_frames_without_a_face_pass_through_and_are_counted(capsys, tmp_path, speech):
    shown = list(frames_of(VIDEO)[:6])
    grey = np.full_like(shown[0], 90)
    video = write_video(tmp_path / "lost.mp4", shown + [grey] * 30)
    out = tmp_path / "out.mp4"
    status, line, _ = run(capsys, "sync", "--video", video, "--audio", speech, "--out", out)
    assert status == 0 and " 0 passed through" not in line
    assert np.abs(frames_of(out)[-1].astype(int) - frames_of(video)[24]).max() < 12, "grey stays grey"


@pytest.mark.parametrize("which", ["video", "audio"])
@pytest.mark.parametrize("kind", ["missing", "junk", "empty", "folder"])
def test_unusable_inputs(capsys, tmp_path, speech, which, kind):
    bad = tmp_path / "bad.mp4"
    if kind == "junk":
        bad.write_bytes(b"not a video at all" * 999)
    elif kind == "empty":
        bad.write_bytes(b"")
    elif kind == "folder":
        bad.mkdir()
    inputs = {"video": VIDEO, "audio": speech, which: bad}
    sentence = refused(
        capsys, tmp_path, "sync", "--video", inputs["video"], "--audio", inputs["audio"], "--out", tmp_path / "o.mp4"
    )
    assert "bad.mp4" in sentence


def test_sound_in_place_of_the_video(capsys, tmp_path, speech):
    refused(capsys, tmp_path, "sync", "--video", speech, "--audio", speech, "--out", tmp_path / "o.mp4")


def test_picture_in_place_of_the_video(capsys, tmp_path, speech):
    import cv2

    cv2.imwrite(str(tmp_path / "face.png"), frames_of(VIDEO)[0])
    refused(capsys, tmp_path, "sync", "--video", tmp_path / "face.png", "--audio", speech, "--out", tmp_path / "o.mp4")


def test_video_without_a_face(capsys, tmp_path, speech):
    blocks = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    video = write_video(tmp_path / "noface.mp4", [np.roll(blocks, i, 1) for i in range(30)])
    sentence = refused(capsys, tmp_path, "sync", "--video", video, "--audio", speech, "--out", tmp_path / "o.mp4")
    assert "No face" in sentence


def test_face_index_beyond_those_seen(capsys, tmp_path, speech):
    sentence = refused(
        capsys, tmp_path, "sync", "--video", VIDEO, "--audio", speech, "--out", tmp_path / "o.mp4", "--face", 3
    )
    assert "face" in sentence


def test_failed_run_keeps_what_was_there(capsys, tmp_path, speech):
    out = tmp_path / "o.mp4"
    out.write_bytes(b"precious")
    refused(capsys, tmp_path, "sync", "--video", tmp_path / "nowhere.mp4", "--audio", speech, "--out", out)
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--out", "{tmp}/no/such/folder/o.mp4"], "folder"),
        (["--out", "{tmp}/o.txt"], ".mp4"),
        (["--preset", "huge"], "huge"),
        (["--preset", "14b"], "weights"),
        (["--weights", "{tmp}"], "Weights"),
        (["--start", "-1"], "--start"),
        (["--duration", "0"], "--duration"),
        (["--start", "999"], "start"),
        (["--loop", "sideways"], "sideways"),
        (["--report", "{tmp}/none/r.json"], "report"),
        (["--report", "{tmp}"], "folder"),
        (["--start", "nan"], "nan"),
        (["--duration", "inf"], "inf"),
        (["--seed", "1e3"], "1e3"),
        (["--seed", "99999999999999999999"], "seed"),
        (["--face", "-1"], "--face"),
        (["--crf", "99"], "--crf"),
    ],
)
def test_wrong_arguments(capsys, tmp_path, speech, change, word):
    given = {"--video": VIDEO, "--audio": speech, "--out": tmp_path / "o.mp4"}
    given |= {change[0]: change[1].format(tmp=tmp_path)}
    arguments = [part for pair in given.items() for part in pair]
    assert word in refused(capsys, tmp_path, "sync", *arguments)


def test_damaged_weights(capsys, tmp_path, speech):
    from lipforcing_jax.models.presets import by_name
    from lipforcing_jax.weights.networks import load

    folder = tmp_path / "weights"
    folder.mkdir()
    for path in load(by_name("nano")).files:
        (folder / path.name).write_bytes(path.read_bytes()[:5000])
    sentence = refused(
        capsys, tmp_path, "sync", "--video", VIDEO, "--audio", speech, "--out", tmp_path / "o.mp4", "--weights", folder
    )
    assert "damaged" in sentence


def test_missing_argument_and_unknown_command(capsys, tmp_path):
    assert "--out" in refused(capsys, tmp_path, "sync", "--video", VIDEO, "--audio", SPEECH)
    assert "dance" in refused(capsys, tmp_path, "dance")


def test_info_names_backend_and_presets(capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert all(word in out for word in ("cpu", "nano", "1.3b", "14b", "jax"))


def test_demo_writes_result_pictures_and_report(capsys, tmp_path):
    status, out, err = run(capsys, "demo", "--out-dir", tmp_path / "new" / "demo")
    assert status == 0, err
    names = {p.name for p in (tmp_path / "new" / "demo").iterdir()}
    assert names == {"result.mp4", "result_comparison.mp4", "contact_sheet.png", "report.json"}


def test_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "lipforcing_jax", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("lipforcing-jax ")


def test_libav_has_no_way_back_into_python():
    """Any log level makes PyAV call Python from codec threads, which has hung a run while it closed a file."""
    import av.logging

    assert main(["info"]) == 0
    assert av.logging.get_level() is None
