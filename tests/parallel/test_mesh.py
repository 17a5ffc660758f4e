"""Meshes: what is understood, what fits, and one sentence for what does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.parallel.rules import parameter_axes


def test_a_mesh_is_written_as_it_is_read():
    shape = meshes.parse("data=2, fsdp=32")
    assert shape == MeshShape(data=2, fsdp=32) and shape.size == 64 and str(shape) == "data=2,fsdp=32"


@pytest.mark.parametrize("text", ["", "fsdp", "fsdp=0", "fsdp=-1", "model=2", "fsdp=2,fsdp=2", "fsdp=x"])
def test_what_is_no_mesh_is_refused(text):
    with pytest.raises(UserError, match="is not understood"):
        meshes.parse(text)


def test_samples_come_first_and_tokens_take_the_rest():
    assert meshes.automatic(8, 16, 40) == MeshShape(fsdp=8)
    assert meshes.automatic(8, 4, 40) == MeshShape(fsdp=4, sequence=2)


def test_tokens_may_have_more_devices_than_heads():
    assert meshes.automatic(8, 1, 12) == MeshShape(sequence=8)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (MeshShape(fsdp=4), "needs 4 devices and there are 8"),
        (MeshShape(tensor=8), "cuts 12 heads into 8"),
        (MeshShape(fsdp=8), "cuts a batch of 4 into 8"),
    ],
)
def test_a_mesh_that_divides_nothing_is_refused(shape, said):
    with pytest.raises(UserError, match=said):
        meshes.check(shape, 8, 4, 12)


def hosts(*processes: int, fsdp: int):
    """A mesh of devices of these processes, as far as it tells where samples lie."""
    devices = np.array([SimpleNamespace(process_index=p) for p in processes], object).reshape(1, fsdp, 1, -1)
    return SimpleNamespace(devices=devices, shape={"data": 1, "fsdp": fsdp})


def test_processes_that_divide_samples_hold_the_same_ones():
    assert meshes.shares_of_processes(hosts(0, 0, 1, 1, fsdp=4)) == {0: (0, 1), 1: (2, 3)}
    assert meshes.shares_of_processes(hosts(0, 0, 1, 1, fsdp=1)) == {0: (0,), 1: (0,)}
    # As a slice's neighbourhood may have it.
    scattered = meshes.shares_of_processes(hosts(0, 1, 2, 3, 0, 1, 2, 3, fsdp=4))
    assert scattered == {0: (0, 2), 1: (0, 2), 2: (1, 3), 3: (1, 3)}


def test_samples_that_only_some_processes_share_are_refused():
    with pytest.raises(UserError, match="A process has 3 devices"):
        meshes.shares_of_processes(hosts(0, 0, 0, 1, 1, 1, fsdp=3))


def test_a_pair_lies_like_its_kernel_and_a_memory_like_its_parameter():
    layer = ("blocks", "self_attn", "q")
    enters, leaves = parameter_axes((*layer, "kernel"), 3)[1:]
    assert parameter_axes((*layer, "lora_a"), 3) == (None, enters, None)
    assert parameter_axes((*layer, "lora_b"), 3) == (None, None, leaves)
    assert parameter_axes(("0", "mu", *layer, "lora_a"), 3) == parameter_axes((*layer, "lora_a"), 3)
    assert parameter_axes((*layer, "bias"), 2) == (None, None)
