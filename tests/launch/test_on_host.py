"""What a scheduler is told of a run: as it ended, but a run that was asked to stop is not a finished one."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "on_host.sh"
TRAINING = ["--", "--config", "a.py", "--workdir", "w"]


def program(folder: Path, body: str, name: str) -> Path:
    """A stand-in for `lipforcing`."""
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)
    return path


def begun(folder: Path, body: str, *options: str, name: str = "lipforcing") -> subprocess.Popen:
    command = ["bash", str(SCRIPT), "--lipforcing", str(program(folder, body, name)), *options, *TRAINING]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def waited_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_status_is_passed_on(tmp_path, status):
    process = begun(tmp_path, f'echo "$@"; exit {status}')
    out, _ = process.communicate(timeout=30)
    assert process.returncode == status
    assert out == f"train --distributed {' '.join(TRAINING[1:])}\non_host: ended with {status}\n"


SAVES = "trap 'sleep 0.3; echo saved; exit {}' TERM; touch {}/up; while true; do sleep 0.05; done"


@pytest.mark.parametrize(("status", "told"), [(0, 143), (2, 2)])
def test_a_run_that_was_asked_to_stop_saves_and_is_not_finished(tmp_path, status, told):
    process = begun(tmp_path, SAVES.format(status, tmp_path))
    waited_for(tmp_path / "up")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == told and out.startswith("saved")


def test_a_run_left_behind_ends_before_the_next_begins(tmp_path):
    log = tmp_path / "run.log"
    first = begun(tmp_path, SAVES.format(0, tmp_path), "--log", str(log))
    waited_for(tmp_path / "up")
    first.send_signal(signal.SIGHUP)  # the connection breaks, and the run goes on
    second = begun(tmp_path, f"[[ ! -e /proc/{first.pid} ]]", "--log", str(log), name="second")
    assert first.wait(timeout=30) == 143
    assert second.wait(timeout=30) == 0
    assert log.read_text() == "on_host: ended with 0\n"
