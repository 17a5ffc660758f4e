"""SyncNet and TAEHV beside peers that are written from the published lists of layers."""

import importlib

import jax
import pytest

for library in ("torch", "python_speech_features"):
    pytest.importorskip(library, reason="the parity extra is not installed")


@pytest.mark.parametrize("network", ["syncnet", "taehv"])
def test_every_array_is_within_its_tolerance(network):
    with jax.default_matmul_precision("highest"):
        rows = list(importlib.import_module(f"lipforcing_jax.parity.{network}").rows())
    assert len(rows) >= 4
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]
