"""The turns of stage 2: who learns when, from what, and what stays bit for bit as it was."""

import jax
import numpy as np
import pytest
import tiny_stage2 as tiny
from interrupted_run import clip, pieces

from lipforcing_jax.errors import UserError
from lipforcing_jax.training.run import load_config, shipped
from lipforcing_jax.training.self_forcing import Rules, check, together


@pytest.fixture(scope="module")
def turns():
    """State before and after an update of the critic alone, and after one of both; the network's frozen part."""
    state, advance = pieces()
    before = jax.tree.map(np.array, state)
    frozen = jax.tree.map(np.array, tiny.network()[0].frozen)
    critics, first = advance(state, [clip(0), clip(1)], jax.random.key(0))
    critics = jax.tree.map(np.array, critics)
    both, second = advance(jax.tree.map(jax.numpy.asarray, critics), [clip(2), clip(3)], jax.random.key(1))
    return before, critics, both, first, second, frozen


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_the_student_learns_at_its_turn_only(turns):
    before, critics, both, first, second, _ = turns
    assert same(before.student, critics.student) and same(before.student_memory, critics.student_memory)
    assert not same(critics.student, both.student)
    assert "student_loss" not in first and second["student_loss"] > 0


def test_the_critic_learns_at_every_turn(turns):
    before, critics, both, *_ = turns
    assert not same(before.critic, critics.critic) and not same(critics.critic, both.critic)


def test_what_is_frozen_stays(turns):
    frozen = turns[-1]
    assert same(frozen, tiny.network()[0].frozen) and len(jax.tree.leaves(frozen)) > 20


def test_every_number_is_finite_and_nothing_was_skipped(turns):
    _, _, both, first, second, _ = turns
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(both))
    for metrics in (first, second):
        assert sum(float(v) for name, v in metrics.items() if name.startswith("skipped")) == 0


def test_the_references_critic_is_pulled_harder_at_the_students_turn():
    """Two batches: its gradient counts twice then, and once otherwise (spec training, trap T4)."""
    norms = {}
    for scale in (False, True):
        for every in (1, 2):
            state, advance = pieces(rules=Rules(every, scale))
            _, metrics = advance(state, [clip(0), clip(1)], jax.random.key(0))
            norms[scale, every] = float(metrics["critic_grad_norm"])
    assert norms[True, 1] == pytest.approx(2 * norms[False, 1], rel=1e-5)
    assert norms[True, 2] == norms[False, 2] == pytest.approx(norms[False, 1], rel=1e-5)


def test_metrics_of_the_batches_are_averaged_and_counts_are_summed():
    found = together([{"loss": np.float32(1), "skipped_samples": 1}, {"loss": np.float32(3), "skipped_samples": 2}])
    assert float(found["loss"]) == 2 and int(found["skipped_samples"]) == 3


@pytest.mark.parametrize("override", ["student_every=0", "frames=7", "frames=3"])
def test_settings_that_no_update_can_be_made_with_are_refused(override):
    check(load_config(shipped("nano_sf"), ["frames=6"]))
    with pytest.raises(UserError, match=override.split("=")[0]):
        check(load_config(shipped("nano_sf"), [override]))
