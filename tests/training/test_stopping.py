"""`lipforcing train` as a scheduler sees it: asked to end, it saves and ends with 0, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_stage


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(
        "import ml_collections\n\n\ndef get_config():\n"
        "    return ml_collections.ConfigDict({'stage': 'small', 'steps': 0})\n"
    )
    return path


def begun(config: Path, steps: int) -> subprocess.Popen:
    folder = config.parent / "run"
    command = [sys.executable, small_stage.__file__, "train", "--config", str(config), "--workdir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.Popen([*command, f"steps={steps}"], env=environment, stdout=subprocess.PIPE, text=True)


def updates(folder: Path) -> list[int]:
    metrics = folder / "small" / "metrics.jsonl"
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines()] if metrics.exists() else []


def test_sigterm_saves_and_the_same_command_goes_on(config):
    folder = config.parent / "run"
    asked, until = begun(config, 10**6), time.monotonic() + 120
    while asked.poll() is None and not updates(folder) and time.monotonic() < until:
        time.sleep(0.1)
    asked.send_signal(signal.SIGTERM)
    out, _ = asked.communicate(timeout=120)
    assert asked.returncode == 0 and "small stopped at update" in out
    # A run that goes on elsewhere finds its programs in the work folder.
    assert f"compiled: {folder / 'compiled'}" in out
    reached = updates(folder)[-1]
    assert [int(p.name) for p in (folder / "small" / "checkpoints").iterdir() if p.name.isdecimal()] == [reached]

    assert begun(config, reached + 2).wait(timeout=120) == 0
    assert updates(folder)[-2:] == [reached + 1, reached + 2]
