"""SyncNet's own properties; its numbers: tests/golden_runs/syncnet.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.models import syncnet
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.sync_distance import score, shift_distances
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.weights import syncnet_names
from lipforcing_jax.weights.recipe import component_weight

SMALL = SyncNetConfig((8, 8, 8, 8, 8, 16), (8, 8, 8, 8, 8, 16), hidden=16, embedding=24, face_size=64)
embed_faces, embed_sound = jax.jit(SyncNet.embed_faces), jax.jit(SyncNet.embed_sound)


@pytest.fixture(scope="module")
def model():
    shapes = syncnet_names.manifest(SMALL)
    state = syncnet_names.from_reference(lambda name: component_weight(name, shapes[name]), SMALL)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: SyncNet(SMALL, rngs=nnx.Rngs(0))))
    return nnx.merge(graphdef, jax.tree.map(jnp.asarray, state))


@pytest.fixture(scope="module")
def levels():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (24, 48, 48, 3)), jnp.float32)


@pytest.fixture(scope="module")
def cepstra():
    return jnp.asarray(10 * np.random.default_rng(1).standard_normal((95, 13)), jnp.float32)


def test_levels_are_cut_and_clipped():
    pixels = jnp.asarray([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0])
    np.testing.assert_array_equal(syncnet.to_levels(pixels), [0, 0, 127, 254, 255, 255])


def test_frames_are_resized_without_antialiasing_and_turned_to_bgr():
    ramp = jnp.broadcast_to(jnp.arange(512.0)[None, None, :, None], (1, 8, 512, 3)) * jnp.asarray([1.0, 0.0, 0.5])
    prepared = syncnet.prepare_frames(ramp, SyncNetConfig())
    assert prepared.shape == (1, 224, 224, 3)
    np.testing.assert_allclose(prepared[0, 0, :3, 2], [0.642857, 2.928571, 5.214286], atol=1e-5)
    np.testing.assert_allclose(prepared[0, 0, :, 0], prepared[0, 0, :, 2] / 2, atol=1e-4)
    assert not prepared[..., 1].any()


def test_an_embedding_depends_on_its_own_window_only(model, levels, cepstra):
    frames = syncnet.prepare_frames(levels, SMALL)
    faces, sounds = embed_faces(model, frames), embed_sound(model, cepstra)
    assert faces.shape == (20, 24) and sounds.shape == (19, 24)
    np.testing.assert_allclose(embed_faces(model, frames[7:12])[0], faces[7], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(embed_sound(model, cepstra[28:48])[0], sounds[7], rtol=1e-4, atol=1e-4)
    other = embed_faces(model, frames.at[11].add(50))
    changed = np.flatnonzero(np.abs(other - faces).max(axis=1) > 1e-3)
    np.testing.assert_array_equal(changed, np.arange(7, 12))


def test_sync_c_has_a_finite_gradient_under_jit(model, levels, cepstra):
    graphdef, state = nnx.split(model)
    sounds = model.embed_sound(cepstra)

    @jax.jit
    @jax.value_and_grad
    def confidence(levels):
        faces = nnx.merge(graphdef, state).embed_faces(syncnet.prepare_frames(levels, SMALL))
        return score(shift_distances(faces, sounds)).confidence

    value, gradient = confidence(levels)
    assert value > 0 and np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_too_short_clips_are_refused(model, levels, cepstra):
    with pytest.raises(ValueError, match="5 frames at once, the clip has 4"):
        model.embed_faces(syncnet.prepare_frames(levels[:4], SMALL))
    with pytest.raises(ValueError, match="20 rows of MFCC at once, the sound has 19"):
        model.embed_sound(cepstra[:19])


def test_windows_too_small_for_the_layers_are_refused():
    with pytest.raises(ValueError, match="too small"):
        nnx.eval_shape(lambda: SyncNet(SyncNetConfig(face_size=32), rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(("frames", "samples", "windows"), [(81, 51840, 76), (81, 51839, 75), (30, 51840, 25)])
def test_windows_of_the_published_evaluation(frames, samples, windows):
    assert syncnet.evaluated_windows(frames, samples, SyncNetConfig()) == windows
