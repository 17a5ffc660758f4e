"""Checkpoints written slice by slice are orbax checkpoints like any other."""

import subprocess
import sys
import weakref

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import piecewise
from lipforcing_jax.weights.piecewise import Leaf, whole

RNG = np.random.default_rng(0)
STACK = RNG.standard_normal((5, 6, 8)).astype(ml_dtypes.bfloat16)
PLAIN = RNG.standard_normal((7, 3)).astype(np.float32)
COUNTER = np.asarray(12)
WRITES = piecewise.Writes
NO_REPORT = lambda done: None  # noqa: E731


def leaves() -> dict:
    stacked = Leaf(STACK.shape, STACK.dtype, lambda i: STACK[i], stacked=True)
    return {("blocks", "0", "kernel"): stacked, ("head", "kernel"): whole(PLAIN.T), ("count",): whole(COUNTER)}


def restored(folder) -> dict:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder)


def test_orbax_restores_what_was_written(tmp_path):
    done = []
    piecewise.write(tmp_path / "a", leaves(), done.append)
    tree = restored(tmp_path / "a")
    np.testing.assert_array_equal(tree["blocks"]["0"]["kernel"], STACK)
    np.testing.assert_array_equal(tree["head"]["kernel"], PLAIN.T)
    assert tree["blocks"]["0"]["kernel"].dtype == ml_dtypes.bfloat16 and tree["count"] == 12
    assert sum(done) == STACK.nbytes + PLAIN.nbytes + COUNTER.nbytes


def test_shapes_and_slices_are_readable_without_the_rest(tmp_path):
    piecewise.write(tmp_path / "a", leaves(), NO_REPORT)
    found = piecewise.read_leaves(tmp_path / "a")
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in found.items()} == {
        path: (leaf.shape, leaf.dtype) for path, leaf in leaves().items()
    }
    store = piecewise.open_leaf(tmp_path / "a", ("blocks", "0", "kernel"))
    np.testing.assert_array_equal(store[3].read().result(), STACK[3])


@pytest.mark.parametrize("limit", [1, 16, 40, 96, 10**6])
def test_chunks_stay_below_the_limit_and_hold_one_slice_at_most(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(piecewise, "CHUNK_BYTES", limit)
    piecewise.write(tmp_path / "a", leaves(), NO_REPORT)
    np.testing.assert_array_equal(restored(tmp_path / "a")["blocks"]["0"]["kernel"], STACK)
    chunks = [p for p in (tmp_path / "a" / "blocks.0.kernel").iterdir() if p.name != ".zarray"]
    assert all(p.stat().st_size <= max(limit, STACK.itemsize) for p in chunks)
    assert max(p.stat().st_size for p in chunks) <= STACK[0].nbytes


@pytest.mark.parametrize(("under_way", "slices"), [(0, 3), (64, 3), (5 * 64, 7)])
def test_few_slices_are_in_memory(tmp_path, monkeypatch, under_way, slices):
    """Those on their way to the disk, the one being read and, for a moment, the one just written."""
    monkeypatch.setattr(piecewise, "UNDER_WAY", under_way)
    alive, most = set(), 0

    def read(index):
        nonlocal most
        value = np.full((4, 4), index, np.float32)
        alive.add(index)
        weakref.finalize(value, alive.discard, index)
        most = max(most, len(alive))
        return value

    piecewise.write(tmp_path / "a", {("w",): Leaf((64, 4, 4), np.dtype(np.float32), read, stacked=True)}, NO_REPORT)
    np.testing.assert_array_equal(restored(tmp_path / "a")["w"][:, 0, 0], np.arange(64))
    assert 1 <= most <= slices


def test_a_chunk_that_is_missing_is_a_fault_and_not_a_chunk_of_zeros(tmp_path):
    piecewise.write(tmp_path / "a", leaves(), NO_REPORT)
    (tmp_path / "a" / "blocks.0.kernel" / "2.0.0").unlink()
    with pytest.raises(ValueError, match="2.0.0"):
        restored(tmp_path / "a")
    with pytest.raises(ValueError, match="2.0.0"):
        piecewise.open_leaf(tmp_path / "a", ("blocks", "0", "kernel")).read().result()


def test_zeros_are_stored_like_other_numbers(tmp_path):
    zeros = Leaf((3, 2), np.dtype(np.float32), lambda i: np.zeros(2, np.float32), stacked=True)
    piecewise.write(tmp_path / "a", {("w",): zeros}, NO_REPORT)
    np.testing.assert_array_equal(restored(tmp_path / "a")["w"], np.zeros((3, 2)))


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_fault_while_reading_leaves_no_checkpoint_and_nothing_on_its_way(tmp_path, monkeypatch, fault):
    kept = []
    monkeypatch.setattr(piecewise, "Writes", lambda progress: kept.append(WRITES(progress)) or kept[-1])

    def read(index):
        if index == 3:
            raise fault("the disk is gone")
        return STACK[index]

    with pytest.raises(fault, match="the disk is gone"):
        piecewise.write(tmp_path / "a", {("w",): Leaf(STACK.shape, STACK.dtype, read, stacked=True)}, NO_REPORT)
    assert not (tmp_path / "a").exists()
    assert len(kept[0].pending) == 3 and all(future.commit.done() for future, _ in kept[0].pending)


@pytest.mark.parametrize("damage", ["nothing", "empty", "no list"])
def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path, damage):
    folder = tmp_path / "a"
    if damage == "empty":
        folder.mkdir()
    if damage == "no list":
        piecewise.write(folder, leaves(), NO_REPORT)
        (folder / "_METADATA").write_text("{")
    with pytest.raises(UserError, match="damaged; convert them again"):
        piecewise.read_leaves(folder)


MESH = """
import sys
import jax, numpy as np, orbax.checkpoint as ocp
from pathlib import Path
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

assert len(jax.devices()) == 8
mesh = jax.make_mesh((2, 4), ("fsdp", "tensor"), axis_types=(AxisType.Auto,) * 2)
kernel = jax.ShapeDtypeStruct((5, 8, 16), "bfloat16", sharding=NamedSharding(mesh, P(None, "fsdp", "tensor")))
with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.restore(Path(sys.argv[1]), {"w": kernel})["w"]
assert found.sharding == kernel.sharding and found.addressable_shards[3].data.shape == (5, 4, 4)
np.save(sys.argv[2], np.asarray(found, np.float32))
"""


def test_orbax_restores_shards_into_a_mesh_of_eight_devices(tmp_path):
    value = RNG.standard_normal((5, 8, 16)).astype(ml_dtypes.bfloat16)
    piecewise.write(tmp_path / "a", {("w",): Leaf(value.shape, value.dtype, value.__getitem__, True)}, NO_REPORT)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", MESH, str(tmp_path / "a"), str(tmp_path / "found.npy")]
    subprocess.run(command, env=flags, check=True, capture_output=True, text=True)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), value.astype(np.float32))


def test_paths_and_nested_dictionaries_are_two_forms_of_one_thing():
    flat = {("a", "b"): 1, ("a", "c", "0"): 2, ("d",): 3}
    assert piecewise.nested(flat) == {"a": {"b": 1, "c": {"0": 2}}, "d": 3}
    assert piecewise.flattened(piecewise.nested(flat)) == flat
    assert jax.tree.leaves(piecewise.nested(flat)) == [1, 2, 3]
