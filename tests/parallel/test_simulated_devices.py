"""Sharded equals whole, on eight simulated devices in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DEVICES = "--xla_force_host_platform_device_count=8"


@pytest.fixture(scope="module")
def found() -> dict:
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(TESTS)}
    command = [sys.executable, str(TESTS / "simulated_devices.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "job",
    [
        "forward on data=2,fsdp=2,tensor=2",
        "reward on data=2,fsdp=2,tensor=2",
        "by_head on data=2,fsdp=2,tensor=2",
        "stage_1 on data=2,fsdp=2,tensor=2",
        "forward on fsdp=2,sequence=4",
        "rollout on fsdp=2,sequence=4",
        "stage_1 on fsdp=2,sequence=4",
        "rollout on tensor=2,sequence=4",
        "critic on tensor=2,sequence=4",
        "ring_full on tensor=2,sequence=4",
        "ring_full on sequence=8",
        "ring_causal on sequence=8",
        "see on data=2,tensor=4",
    ],
)
def test_sharded_equals_whole(found, job):
    """Results, and every gradient by its own scale, in float32."""
    assert found["differences"][job] < 1e-4


def test_devices_hold_slices(found):
    assert found["slices"] == 8


def test_several_devices_serve_a_stream_as_one_does(found):
    """Frames in [0, 1]; sums over heads are made in another order."""
    assert found["served"]["difference"] < 1e-4
    assert found["served"]["programs"] == [1, 1], "denoising and drawing"
    assert found["served"]["slices"] == [4, 4, 4], "of a kernel, of the past, and of what the decoder remembers"
