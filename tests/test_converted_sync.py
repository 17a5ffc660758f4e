"""A converted release as its user runs it: every real component, narrow, at the 512x512 geometry of 14b."""

import json
from pathlib import Path

import numpy as np
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.evaluation.demo import demo_inputs
from lipforcing_jax.media.video import read_video
from lipforcing_jax.weights import samples
from lipforcing_jax.weights.convert import convert

VIDEO, SPEECH = demo_inputs()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Files in the release's layout, text encoder included, converted."""
    folder = tmp_path_factory.mktemp("release")
    convert(samples.write_release(folder / "files", samples.small(), encoder=True), folder / "weights")
    return folder / "weights"


def run(capsys, *arguments) -> tuple[int, str]:
    status = main([str(a) for a in arguments])
    return status, capsys.readouterr().err


@pytest.mark.parametrize("decoder, frames", [("taehv", 14), ("wan", 9)])
def test_a_clip_from_file_to_file(weights, decoder, frames, capsys, tmp_path):
    """One chunk of 9 frames, and 5 of the next 12."""
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    status, err = run(
        capsys, "sync", "--preset", "14b", "--weights", weights, "--decoder", decoder, "--video", VIDEO,
        "--audio", SPEECH, "--duration", frames / 25, "--out", out, "--save-aligned", "--report", report,
    )  # fmt: skip
    assert status == 0, err
    record = json.loads(report.read_text())
    assert record["frames"] == frames and record["chunks"] == 1 + (frames > 9) and record["weights_sha256"]
    result, source = (np.stack(list(read_video(path))).astype(int) for path in (out, VIDEO))
    aligned = np.stack(list(read_video(tmp_path / "out_aligned.mp4")))
    assert aligned.shape == (frames, 512, 512, 3) and aligned.std() > 5
    changed = np.abs(result - source[:frames]).max(axis=(0, 3)) > 40
    assert 0.002 < changed.mean() < 0.35, "the mouth region alone should change"


@pytest.mark.parametrize("part", ["text", "wav2vec2", "vae"])
def test_what_is_missing_is_named(weights, part, capsys, tmp_path):
    manifest = json.loads((weights / "manifest.json").read_text())
    del manifest["parts"][part]
    for path in weights.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    status, err = run(
        capsys, "sync", "--preset", "14b", "--weights", tmp_path, "--video", VIDEO, "--audio", SPEECH,
        "--out", tmp_path / "out.mp4",
    )  # fmt: skip
    assert status == 2 and f"lacks {part}" in err and err.count("\n") == 1


def test_weights_of_another_preset_are_refused(weights, capsys, tmp_path):
    manifest = json.loads((weights / "manifest.json").read_text()) | {"preset": "1.3b"}
    for path in weights.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    arguments = ("--weights", tmp_path, "--video", VIDEO, "--audio", SPEECH, "--out", tmp_path / "out.mp4")
    status, err = run(capsys, "sync", "--preset", "14b", *arguments)
    assert status == 2 and "choose --preset 1.3b" in err


def test_a_preset_without_bundled_weights_says_how_to_get_them(capsys, tmp_path):
    arguments = ("--video", VIDEO, "--audio", SPEECH, "--out", tmp_path / "out.mp4")
    status, err = run(capsys, "sync", "--preset", "14b", *arguments)
    assert status == 2 and "lipforcing convert" in err
    status, err = run(capsys, "sync", "--decoder", "wan", *arguments)
    assert status == 2 and "leave --decoder away" in err
