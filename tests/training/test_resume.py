"""A run that is killed goes on as if nothing had happened: parameters, optimisers, data and keys."""

import json
import signal
import subprocess
import sys

import interrupted_run
import jax
import numpy as np
import pytest
from interrupted_run import run

pytestmark = pytest.mark.optimised  # Equality bit for bit is asked of what users run.


def test_a_killed_run_ends_bit_for_bit_like_an_unbroken_one(tmp_path):
    """Killed without warning in a student's turn, the third update being the critic's alone."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = [sys.executable, interrupted_run.__file__, str(parts), "3", "1"]
    killed = subprocess.run(command, capture_output=True, timeout=900)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    expected, found = run(whole, 3), run(parts, 3)
    assert len(jax.tree.leaves(found)) > 50
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    resumed = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert resumed == [3]
