"""What is kept of a run, what is refused, and what survives a disk that is full."""

import json
import os
import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lipforcing_jax.distill import train_state
from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.training.checkpoints import check_record
from lipforcing_jax.training.loop import drawn, fit

WIDTH = 50_000


def run(folder, steps, advance=None, **options):
    """Learns a vector of noise; the batch of update i says i."""
    optimiser = optax.sgd(0.1)
    state = train_state.create({"w": jax.random.normal(jax.random.key(0), (WIDTH,))}, optimiser, averaged=False)
    loss = lambda params, batch, key: (jnp.sum(params["w"] * batch.mean()), {})  # noqa: E731
    step = train_state.make_step(loss, optimiser, None)
    batches = drawn(lambda i: np.full(2, i, np.float32))
    return fit(state, advance(step) if advance else step, batches, steps=steps, workdir=folder, seed=0, **options)


def kept(folder) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def test_the_newest_and_the_best_are_kept(tmp_path):
    errors = {2: 5.0, 4: 1.0, 6: 3.0, 8: 4.0, 10: 2.0}
    run(tmp_path, 10, save_every=2, keep=2, best="-error", evaluate=lambda s: {"error": errors[int(s.step)]})
    assert kept(tmp_path) == [4, 8, 10]


def test_without_a_measure_the_newest_are_kept(tmp_path):
    run(tmp_path, 8, save_every=2, keep=2)
    assert kept(tmp_path) == [6, 8]


def test_a_run_goes_on_only_with_its_own_settings(tmp_path):
    record = {"lr": 1e-5, "windows": ((7, 1), (9, 3)), "steps": 5}
    check_record(tmp_path, record)
    check_record(tmp_path, record | {"steps": 50})
    with pytest.raises(UserError, match=r"lr was 1e-05, is 2e-05.*; seed was None, is 3"):
        check_record(tmp_path, record | {"lr": 2e-5, "seed": 3})
    assert json.loads((tmp_path / "record.json").read_text())["steps"] == 50


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, 2)
    optimiser = optax.sgd(0.1)
    other = train_state.create({"w": jnp.zeros(3), "v": jnp.zeros(2)}, optimiser, averaged=False)
    with pytest.raises(UserError, match="does not fit this run"):
        fit(other, None, drawn(lambda i: i), steps=4, workdir=tmp_path, seed=0)


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path):
    """Files may not grow beyond 20 kB, as if there were no more room."""
    before = run(tmp_path, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match="could not be written.*the one before it is intact"):
            run(tmp_path, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 2 in kept(tmp_path) and 4 not in kept(tmp_path)
    np.testing.assert_array_equal(run(tmp_path, 2).params["w"], before.params["w"])
    assert int(run(tmp_path, 4).step) == 4


def test_a_request_to_stop_saves_and_says_where(tmp_path):
    """SIGTERM in the third of a hundred updates; the run then goes on as if unbroken."""

    def ask(step):
        def advance(state, draws, key):
            if int(state.step) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(state, draws, key)

        return advance

    with pytest.raises(Stopped, match="stopped at update 3 of 100"):
        run(tmp_path / "a", 100, ask, save_every=50)
    assert kept(tmp_path / "a") == [3]
    np.testing.assert_array_equal(run(tmp_path / "a", 5).params["w"], run(tmp_path / "b", 5).params["w"])


def test_a_run_that_leaves_out_too_much_stops(tmp_path):
    spoil = lambda step: lambda state, draws, key: step(state, [draws[0] * np.nan], key)  # noqa: E731
    with pytest.raises(UserError, match="3 samples or updates.*max_skipped=2"):
        run(tmp_path, 10, spoil, log_every=1, max_skipped=2)


def test_two_batches_make_one_update_by_their_mean(tmp_path):
    """d/dw of sum(w mean(batch)) is the batch's number: updates see (0, 1), then (2, 3)."""
    start = jax.random.normal(jax.random.key(0), (WIDTH,))
    made = run(tmp_path, 2, accumulation=2)
    np.testing.assert_allclose(made.params["w"], start - 0.1 * (0.5 + 2.5), atol=1e-5)
