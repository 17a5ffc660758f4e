"""Processes that train together, and others that go on from their checkpoint on another mesh."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import interrupted_run
import jax
import numpy as np
import pytest

TESTS = Path(__file__).parents[1]


def begin(
    folder: Path, mesh: str, steps: int, processes: int, rates=("0.1",) * 4, problem: str = "linear", lost: int = -1
) -> list[subprocess.Popen]:
    """All processes of a run, of which one may be lost in the midst of its first checkpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # They run the same programs: also short ones are compiled by one and found by the others.
    environment = os.environ | {"PYTHONPATH": str(TESTS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    return [
        subprocess.Popen(
            [sys.executable, str(TESTS / "simulated_hosts.py"), problem, port, str(i), str(processes), str(folder),
             mesh, str(steps), rates[i], *["lost"] * (i == lost)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(processes)
    ]  # fmt: skip


def end(started: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Status and output of every process."""
    output = [process.communicate(timeout=300)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, output, strict=True)]


def run(*arguments, **settings) -> list[tuple[int, str]]:
    return end(begin(*arguments, **settings))


def trained(folder: Path, parts: list[tuple[str, int, int]], problem: str) -> np.ndarray:
    """What is trained, after stretches of a run: mesh, updates and processes of each."""
    for mesh, steps, processes in parts:
        for status, text in run(folder, mesh, steps, processes, problem=problem):
            assert status == 0, text
    return np.load(folder / "trained.npy")


def test_a_run_goes_on_with_other_processes_and_another_mesh(tmp_path):
    whole = trained(tmp_path / "whole", [("data=4", 6, 1)], "linear")
    # Of four processes two and two divide the same samples, of two each has its own.
    parts = trained(tmp_path / "parts", [("fsdp=2,sequence=2", 3, 4), ("data=2,fsdp=2", 6, 2)], "linear")
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert np.abs(whole).max() > 0.1


def test_stage_2_goes_on_with_other_processes_and_another_mesh(tmp_path):
    """An update of the critic, by one process or by two that divide the same clips, and one of both, whose programs are
    kept. What two draw together after the first is what one draws."""
    start = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(start_of_stage_2())])
    whole = trained(tmp_path / "whole", [("data=4", 2, 1)], "stage2") - start
    parts = trained(tmp_path / "parts", [("sequence=4", 1, 2), ("data=4", 2, 1)], "stage2") - start
    # Steps in float32, whose sums are made in another order.
    assert np.abs(parts - whole).max() < 1e-3 * np.abs(whole).max()
    assert np.abs(whole).max() > 1e-5
    one, two = (cv2.imread(str(tmp_path / folder / "samples" / "000001.png")) for folder in ("whole", "parts"))
    assert one.std() > 10 and np.abs(one.astype(int) - two).max() <= 2


def start_of_stage_2():
    """Student and critic before the first update."""
    state, _ = interrupted_run.pieces()
    return state.student, state.critic


def test_processes_with_other_settings_are_refused(tmp_path):
    for status, text in run(tmp_path, "fsdp=4", 3, 2, ("0.1", "0.2")):
        assert status == 2 and "disagree about rate" in text


def test_a_killed_process_ends_the_others_and_the_run_goes_on(tmp_path):
    """The survivor says what happened, and ends."""
    started = begin(tmp_path, "fsdp=4", 100_000, 2)
    while not (tmp_path / "checkpoints" / "6").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(0.1)
    started[1].kill()
    (status, text), _ = end(started)
    assert status == 1 and "Process 0 of 2 failed" in text and "one of them is gone" in text, text
    newest = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal())
    for status, text in run(tmp_path, "fsdp=4", newest + 3, 2):
        assert status == 0, text
    assert np.abs(np.load(tmp_path / "trained.npy")).max() > 0.1


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_lost_in_a_checkpoint_ends_the_others_and_the_run_goes_on(tmp_path, lost):
    """The survivor waits at a barrier, where the runtime would abort; or it is process 0 that is gone, on which the
    runtime depends."""
    ends = run(tmp_path, "fsdp=4", 100_000, 2, lost=lost)
    status, text = ends[1 - lost]
    assert ends[lost][0] == -signal.SIGKILL and status == 1, text
    assert f"Process {1 - lost} of 2 failed" in text and "one of them is gone" in text, text
    for status, text in run(tmp_path, "fsdp=4", 3, 2):
        assert status == 0, text
    assert np.abs(np.load(tmp_path / "trained.npy")).max() > 0.1
