"""The host loop: a run that is stopped and resumed ends where an unbroken one ends."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lipforcing_jax.distill import train_state
from lipforcing_jax.errors import UserError
from lipforcing_jax.training.loop import drawn, fit
from lipforcing_jax.training.run import load_config

pytestmark = pytest.mark.optimised  # Equality bit for bit is asked of what users run.


def quadratic(params, batch, key):
    noise = jax.random.normal(key, params["w"].shape)
    value = jnp.sum((params["w"] - batch + 0.01 * noise) ** 2)
    return value, {"size": jnp.abs(params["w"]).max()}


def run(folder, steps):
    optimiser = optax.adam(0.1)
    state = train_state.create({"w": jnp.zeros(3)}, optimiser)
    step = train_state.make_step(quadratic, optimiser, 0.9)
    batch_at = lambda i: np.full(3, 1.0 + 0.1 * i, np.float32)  # noqa: E731
    return fit(state, step, drawn(batch_at), steps=steps, workdir=folder, seed=3, log_every=2, save_every=4)


@pytest.mark.parametrize("processes", [0, 1])
def test_batches_are_functions_of_their_number(processes):
    batches = drawn(partial(np.full, 3), processes)
    for i in range(4):
        np.testing.assert_array_equal(next(batches), [i, i, i])


def test_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole", 12)
    run(tmp_path / "parts", 5)
    parts = run(tmp_path / "parts", 12)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_device_without_room_gets_one_sentence(tmp_path):
    def greedy(state, draws, key):
        return state, {"size": jnp.zeros(1 << 50).max()}

    state = train_state.create({"w": jnp.zeros(3)}, optax.adam(0.1))
    with pytest.raises(UserError, match="A device has no room for this run"):
        fit(state, greedy, drawn(lambda i: np.zeros(3)), steps=1, workdir=tmp_path, seed=0)


def test_no_more_than_one_update_is_under_way_while_the_next_is_prepared(tmp_path):
    """So that the bar is true and a run that is asked to stop does so within an update."""
    asked, done = [], []

    class Promise:
        """A metric of an update that is not done before somebody waits for it."""

        def __init__(self, number):
            self.number = number

        def block_until_ready(self):
            done.append(self.number)
            return self

        def __array__(self, dtype=None, copy=None):
            return np.zeros((), dtype)

    def advance(state, draws, key):
        ahead = len(asked) - len(done)
        assert ahead <= 1, f"update {len(asked)} was asked for while {ahead} were under way"
        asked.append(Promise(len(asked)))
        return state._replace(step=state.step + 1), {"loss": asked[-1]}

    state = train_state.create({"w": jnp.zeros(3)}, optax.adam(0.1))
    fit(state, advance, drawn(lambda i: np.zeros(3)), steps=6, workdir=tmp_path, seed=0, log_every=6)
    assert len(asked) == 6 and done == [0, 1, 2, 3, 4]


def test_metrics_are_written_as_lines_of_json(tmp_path):
    run(tmp_path, 6)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [2, 4, 6] and rows[-1]["loss"] > 0


def test_an_update_that_is_not_finite_is_left_out_and_counted():
    optimiser = optax.adam(0.1)
    step = train_state.make_step(lambda p, b, k: (jnp.sum(p["w"] * b), {}), optimiser, 0.9)
    state = train_state.create({"w": jnp.ones(2)}, optimiser)
    state, metrics = step(state, [np.asarray([1.0, np.nan])], jax.random.key(0))
    assert int(metrics["skipped_updates"]) == 1 and int(state.step) == 1
    np.testing.assert_array_equal(state.params["w"], [1, 1])


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(
        "import ml_collections\n\ndef get_config():\n"
        "    return ml_collections.ConfigDict({'stage': 'audio', 'steps': 5})\n"
    )
    return path


def test_overrides_change_fields_and_keep_their_type(config_file):
    assert load_config(config_file, ["steps=7"]).steps == 7


@pytest.mark.parametrize("override", ["stepz=7", "steps=many"])
def test_wrong_overrides_are_refused_by_name(config_file, override):
    with pytest.raises(UserError, match=override.split("=")[0]):
        load_config(config_file, [override])
