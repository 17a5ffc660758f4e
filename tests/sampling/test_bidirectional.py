"""The teacher's sampler: its ladder, its guidance, and its steps beside a loop written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax import flow
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.sampling.bidirectional import SYNC_WINDOW, Guidance, Prompt, guided_flow, levels, sample

CFG = DiTConfig(24, 2, 48, 4, text_dim=8, text_len=3, audio_dim=6, audio_hidden=8, freq_dim=16)
forward = jax.jit(DiT.__call__)
guided = jax.jit(guided_flow, static_argnums=5)


@pytest.fixture(scope="module")
def scene():
    model = drawn_network(lambda: DiT(CFG, rngs=nnx.Rngs(0)))
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)  # noqa: E731
    noise, condition = draw(1, 1, 3, 4, 4, 16), draw(2, 1, 3, 4, 4, 49)
    text, negative = (jax.jit(DiT.text_keys)(model, t) for t in (draw(3, 1, 3, 8), jnp.zeros((1, 3, 8))))
    return model, noise, condition, Prompt(text, negative, draw(4, 1, 3, 24))


def one_flow(scene, x, t, text: str = "text", sound: float = 1.0):
    model, _, condition, prompt = scene
    level, audio = jnp.full((1, 1), t), sound * prompt.audio
    return forward(model, x, condition, level, getattr(prompt, text), audio, positions=jnp.arange(3))[0]


def test_levels_are_the_teachers():
    found = levels()
    assert found.shape == (51,) and found[0] == 1 and found[-1] == 0
    np.testing.assert_allclose(found[[20, 40]], [0.88235, 0.55556], atol=1e-5)
    assert (np.diff(found) < 0).all()
    np.testing.assert_array_equal(levels(4, shift=1.0), [1, 0.75, 0.5, 0.25, 0])


def test_the_sync_window_covers_the_steps_20_to_40():
    inside = [i for i, t in enumerate(levels()) if Guidance(window=SYNC_WINDOW).active(t)]
    # Step 20 lies at 0.88235 and step 40 at 0.55556, just outside the window's rounded ends.
    assert inside == list(range(21, 40))


def test_one_scale_is_the_joint_negative(scene):
    model, x, condition, prompt = scene
    found = guided(model, x, condition, jnp.full((1, 1), 0.7), prompt, Guidance(text=4.5))
    positive, negative = one_flow(scene, x, 0.7), one_flow(scene, x, 0.7, "negative_text", 0.0)
    np.testing.assert_allclose(found, negative + 4.5 * (positive - negative), atol=1e-5)
    # In x0 space the same (spec network 8.4).
    t = jnp.full((1,), 0.7)
    x0 = [flow.flow_to_x0(x, v, t) for v in (found, positive, negative)]
    np.testing.assert_allclose(x0[0], flow.guide(x0[1], x0[2], jnp.full((1,), 4.5)), atol=1e-5)


def test_two_scales_pull_text_and_sound_apart(scene):
    model, x, condition, prompt = scene
    found = guided(model, x, condition, jnp.full((1, 1), 0.7), prompt, Guidance(text=3.0, audio=5.0))
    p, a, n = (one_flow(scene, x, 0.7, *how) for how in (("text", 1.0), ("text", 0.0), ("negative_text", 0.0)))
    np.testing.assert_allclose(found, n + 3 * (a - n) + 5 * (p - a), atol=1e-5)
    equal = guided(model, x, condition, jnp.full((1, 1), 0.7), prompt, Guidance(text=3.0, audio=3.0))
    np.testing.assert_allclose(equal, n + 3 * (p - n), atol=1e-5)


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(window=SYNC_WINDOW), Guidance(text=1.0)], ids=repr)
def test_the_scan_is_the_written_out_loop(scene, guidance):
    model, noise, condition, prompt = scene
    schedule = levels(6)

    found, predictions = sample(model, noise, condition, prompt, guidance, schedule)
    x, seen = noise, []
    for t, target in zip(schedule[:-1], schedule[1:], strict=True):
        velocity = one_flow(scene, x, t)
        if guidance.active(t):
            negative = one_flow(scene, x, t, "negative_text", 0.0)
            velocity = negative + guidance.text * (velocity - negative)
        seen.append(x - t * velocity)
        x = x + (target - t) * velocity
    np.testing.assert_allclose(found, x, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(predictions, seen, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(predictions[-1], found, atol=1e-6)


def test_rounded_timesteps_are_the_published_ones(scene):
    model, noise, condition, prompt = scene
    schedule = np.array([0.999, 0.769, 0.0])
    found, _ = sample(model, noise, condition, prompt, Guidance(text=1.0), schedule, bfloat16_timestep=True)
    x = noise + (0.769 - 0.999) * one_flow(scene, noise, 1.0)
    x = x - 0.769 * one_flow(scene, x, 0.768)
    np.testing.assert_allclose(found, x, atol=1e-4)
    plain, _ = sample(model, noise, condition, prompt, Guidance(text=1.0), schedule)
    assert np.abs(plain - found).max() > 1e-4
