"""SyncNet's training loss: windows find their sounds, and the norms keep what they were trained with."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_stage2 as tiny
from flax import nnx

from lipforcing_jax.distill import contrast
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.sync_distance import shift_distances


class Drawn(NamedTuple):
    levels: np.ndarray
    cepstra: np.ndarray
    clips: np.ndarray
    times: np.ndarray
    mouths: np.ndarray


def batch(windows: int = 8, size: int = 96) -> Drawn:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (windows, 5, size, size, 3), np.uint8)
    clips, times = np.arange(windows) // 4, np.arange(windows) % 4 * 2
    cepstra, mouths = 10 * rng.standard_normal((windows, 20, 13)), rng.standard_normal((windows, 5, 2))
    return Drawn(levels, cepstra.astype(np.float32), clips, times, mouths.astype(np.float32))


@pytest.fixture(scope="module")
def network():
    return nnx.split(tiny.judge().net)


def test_the_network_repeats_what_it_was_settled_with(network):
    """The norms hold the statistics of the batch, so the plain network gives its embeddings, window for window, also
    after the statistics have gone into the layers, where they fit float16."""
    graphdef, params = network
    drawn = batch()

    @jax.jit
    def both(params):
        model = nnx.merge(graphdef, params)
        faces, sounds = contrast.windows(drawn.levels, drawn.cepstra, model.cfg)
        first = model.face.convs[0](faces)
        trained = contrast.settle(model, faces, sounds)
        plain = model.face_head(model.face(faces)), model.sound_head(model.sound(sounds))
        clip = jnp.float32(drawn.levels[3])[..., ::-1], jnp.asarray(drawn.cepstra[3])
        from_clips = model.embed_faces(clip[0]), model.embed_sound(clip[1])
        norm = model.face.norms[0]
        statistics = norm.mean[...], norm.variance[...]
        contrast.fold(model)
        folded = model.face_head(model.face(faces)), model.sound_head(model.sound(sounds))
        return trained, plain, folded, from_clips, first, statistics, nnx.state(model)

    trained, plain, folded, from_clips, first, (mean, variance), small = both(params)
    assert float(variance.max()) > 65504 > 100 * tiny.largest(small)
    for i in range(2):
        size = float(jnp.abs(trained[i]).max())
        np.testing.assert_allclose(plain[i], trained[i], atol=1e-5 * size)
        np.testing.assert_allclose(folded[i], trained[i], atol=1e-4 * size)
        np.testing.assert_allclose(from_clips[i][0], trained[i][3], atol=1e-5 * size)
    np.testing.assert_allclose(mean, np.asarray(first, np.float64).mean((0, 1, 2)), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(variance, np.asarray(first, np.float64).var((0, 1, 2)), rtol=1e-3)


def test_distances_are_those_of_the_score():
    rng = np.random.default_rng(1)
    faces, sounds = (jnp.asarray(rng.standard_normal((20, 6)), jnp.float32) for _ in range(2))
    apart = contrast.distances(faces, sounds)
    expected = shift_distances(faces, sounds, 3)
    for shift in range(-3, 4):
        assert float(jnp.diagonal(apart, shift).mean()) == pytest.approx(float(expected[shift + 3]), rel=1e-4)


def test_neighbours_in_time_are_neither_right_nor_wrong():
    clips, times = jnp.asarray([0, 0, 0, 1]), jnp.asarray([4, 5, 7, 4])
    expected = np.zeros((4, 4), bool)
    expected[0, 1] = expected[1, 0] = True
    np.testing.assert_array_equal(contrast.too_near(clips, times), expected)


def test_cross_entropy_counts_rows_and_columns_and_leaves_out_what_it_should():
    apart = np.random.default_rng(2).uniform(1, 3, (4, 4))
    left_out = np.zeros((4, 4), bool)
    left_out[0, 1] = left_out[1, 0] = True
    odds = np.where(left_out, 0, np.exp(-apart))
    own = np.diagonal(odds)
    expected = -0.5 * (np.log(own / odds.sum(0)).mean() + np.log(own / odds.sum(1)).mean())
    assert float(contrast.cross_entropy(jnp.asarray(apart), jnp.asarray(left_out))) == pytest.approx(expected, rel=1e-5)


def test_equal_embeddings_have_a_finite_slope():
    same = jnp.ones((4, 3))
    slope = jax.grad(lambda x: contrast.cross_entropy(contrast.distances(x, same), jnp.zeros((4, 4), bool)))(same)
    assert np.isfinite(slope).all()


def test_windows_learn_to_find_their_sounds():
    """And both embeddings to tell the mouth's parameters."""
    cfg = SyncNetConfig((4, 4, 4, 4, 4, 16), (4, 4, 4, 4, 4, 16), hidden=16, embedding=16, face_size=64)
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: contrast.Learner(cfg, 2, rngs=nnx.Rngs(0))))
    params = tiny.filled(shapes, 1)
    drawn, optimiser = batch(size=64), optax.adam(1e-2)

    @jax.jit
    def step(params, memory):
        found, slope = jax.value_and_grad(lambda p: contrast.loss(graphdef, p, drawn, 1.0), has_aux=True)(params)
        moved, memory = optimiser.update(slope, memory)
        return optax.apply_updates(params, moved), memory, found[1]

    memory, seen = optimiser.init(params), []
    for _ in range(60):
        params, memory, metrics = step(params, memory)
        seen.append({name: float(value) for name, value in metrics.items()})
    assert seen[-1]["found"] == 1.0
    for name in ("contrast", "face_error", "sound_error"):
        assert seen[-1][name] < 0.4 * seen[0][name]
