"""The search for what fits, on programs small enough for this machine and chips with little memory."""

import jax
import jax.numpy as jnp
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import chips, suggest
from lipforcing_jax.planning.asked import Asked
from lipforcing_jax.planning.chips import Chip, Topology, larger
from lipforcing_jax.planning.programs import Job, Placing, Program, numbers

WIDTH, LAYERS = 64, 6
MIB = 1 / 1024


def make(batch: int, mesh, remat: str | None) -> Job:
    """A chain of layers and its gradient; "full" keeps what enters a layer and computes the rest again."""
    place = Placing(mesh, "train")

    def layer(x, w):
        return jnp.tanh(jnp.tanh(x @ w) @ w), None

    def loss(weights, x):
        step = layer if remat == "none" else jax.checkpoint(layer)
        return jnp.sum(jax.lax.scan(step, x, weights)[0])

    weights, x = place.whole(numbers(LAYERS, WIDTH, WIDTH)), place.samples(numbers(batch, WIDTH))
    return Job([Program("gradient", jax.jit(jax.grad(loss)), (weights, x), {})], weights)


@pytest.fixture
def asked() -> Asked:
    return Asked("chain", 1024, 4, make, remat=("none", "full"))


def slice_with(memory_gib: float, monkeypatch) -> Topology:
    chip = Chip("v5e", 1e9, memory_gib, 1e9, 1e9)
    monkeypatch.setitem(chips.CHIPS, "v5e", chip)
    return Topology("v5e:1x1", chip, tuple(jax.devices()[:1]))


def test_what_recomputes_least_comes_first_if_it_can_fit(asked, monkeypatch):
    roomy = suggest.candidates(asked, slice_with(1.0, monkeypatch))
    assert [c.remat for c in roomy] == ["none", "full"] and roomy[0].seconds < roomy[1].seconds
    between = (roomy[0].fills + roomy[1].fills) / 2
    assert [c.remat for c in suggest.candidates(asked, slice_with(between, monkeypatch))] == ["full", "none"]


def test_only_what_can_be_faster_is_compiled(asked, monkeypatch):
    found = suggest.search(asked, slice_with(1.0, monkeypatch), 4)
    assert [plan.remat for plan in found.plans] == ["none"] and found.best is found.plans[0]
    assert found.text() == "The fastest that fits: mesh data=1, remat=none"


def test_where_nothing_fits_a_larger_slice_is_tried(asked, monkeypatch):
    small = slice_with(0.5 * MIB, monkeypatch)
    roomy = Topology("v5e:2x2", Chip("v5e", 1e9, 1.0, 1e9, 1e9), small.devices)
    monkeypatch.setattr(suggest, "topology", lambda name: roomy)
    found = suggest.search(asked, small, 1)
    assert found.best is None and found.nearest.topology == "v5e:2x2"
    assert "GiB more than a chip has. It fits on v5e:2x2 with mesh data=1, remat=full." in found.text()
    assert "--suggest looks for" in found.plans[0].text() and "next larger slice is v5e:2x2" in found.plans[0].text()


def test_a_job_that_nothing_divides_is_refused(asked, monkeypatch):
    slice_ = Topology("v5e:1x1", slice_with(1.0, monkeypatch).chip, ())
    with pytest.raises(UserError, match="No mesh divides a batch of 1024 and 4 heads"):
        suggest.search(asked, slice_, 1)


def test_slices_by_size():
    assert larger("v5p:2x2x2")[:2] == ["v5p:2x2x4", "v5p:2x4x4"] and larger("v6e:16x16") == []


def test_likely_meshes_let_keys_go_round_last():
    shapes = suggest.likely(Asked("chain", 4, 12, make), 8)
    assert shapes[0] == MeshShape(fsdp=4, sequence=2) and MeshShape(sequence=8) in shapes
    rounds = [12 % s.head_shares > 0 for s in shapes]
    assert rounds == sorted(rounds)
    assert all(s.size == 8 and 12 % s.tensor == 0 and 4 % s.fsdp == 0 for s in shapes)
    streams = suggest.likely(Asked("chain", 4, 12, make, streaming=True), 8)
    assert streams == [MeshShape(data=4, tensor=2), MeshShape(data=2, tensor=4)]
