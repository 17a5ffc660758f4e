"""Rows of a rival are made once, and again when what they depend on has changed."""

from dataclasses import replace

import numpy as np
import pytest

from lipforcing_jax.evaluation.eval_talkers import Talker
from lipforcing_jax.reproduction import comparison
from lipforcing_jax.reproduction.comparison import Cast, judged


@pytest.fixture
def cast(tmp_path, monkeypatch):
    """Two talkers that nobody has drawn."""
    blank = {name: np.zeros((5, 2, 2, 3), np.uint8) for name in Talker._fields}
    cast = Cast(tmp_path / "heldout", 5000, 2, 5, 2)
    cast.folder.mkdir()
    for seed in (5000, 5001):
        np.savez(cast.folder / f"{seed}_5.npz", **blank)
    monkeypatch.setattr(comparison, "row_of", lambda examiner, talker, made: {"psnr": float(made)})
    return cast


def test_rows_are_kept_while_weights_and_talkers_stay(cast, tmp_path):
    weights, path, calls = tmp_path / "student.safetensors", tmp_path / "results" / "student.json", []
    weights.write_bytes(b"first")

    def make(talker):
        calls.append(talker)
        return len(calls)

    assert judged(path, [weights], None, cast, make) == [{"psnr": 1.0}, {"psnr": 2.0}]
    assert judged(path, [weights], None, cast, make) == [{"psnr": 1.0}, {"psnr": 2.0}]
    weights.write_bytes(b"trained on")
    assert judged(path, [weights], None, cast, make) == [{"psnr": 3.0}, {"psnr": 4.0}]
    assert judged(path, [weights], None, replace(cast, count=1), make) == [{"psnr": 5.0}]
