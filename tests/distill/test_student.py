"""The sum of per-chunk VJPs is the gradient of the whole rollout; frozen numbers and bad samples stay out of it."""

import jax
import jax.numpy as jnp
import pytest
import tiny_stage2 as tiny
from flax import nnx

from lipforcing_jax import flow
from lipforcing_jax.distill import student
from lipforcing_jax.distill.rollout import draw_noise
from lipforcing_jax.models.conditioning import condition_channels
from lipforcing_jax.models.dit import KeyValues, Past
from lipforcing_jax.sampling.window import visible_frames, window_positions


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def setting():
    base, part = tiny.network(dtype=jnp.float64)
    condition = tiny.condition(dtype=jnp.float64)
    noise = draw_noise(jax.random.key(3), condition.masked_video, tiny.WINDOW.chunk, 2)
    return base, part, condition, noise


learn = jax.jit(student.gradient, static_argnames=("window", "remat"))


@jax.jit
def predict(base, part, condition, chunk, x, t, past, positions):
    """x0 of one chunk and its keys and values."""
    model, level = base.join(part), jnp.full((x.shape[0], 1), t)
    channels = condition_channels(chunk.ref_latent, condition.mask, chunk.masked_video, chunk.ref_sequence)
    text = model.text_keys(condition.text)
    velocity, kv = model(x, channels, level, text, chunk.audio, positions=positions, past=past)
    return flow.flow_to_x0(x, velocity, level), kv


def whole_rollout(base, part, condition, noise, exit_step):
    """The rollout as one differentiable function, written without the package's cache and sampler."""
    hold, made, clean = jax.lax.stop_gradient, [], []
    slots, tokens = tiny.WINDOW.window - tiny.WINDOW.chunk, (tiny.CELLS // 2) ** 2
    nothing = jnp.zeros((tiny.CFG.num_layers, 2, tokens, tiny.CFG.num_heads, tiny.CFG.head_dim))
    for k in range(tiny.CHUNKS):
        start, end = 3 * k, 3 * k + 3
        seen = [f for f in visible_frames(start, end, tiny.WINDOW) if f < start]
        keys, queries = (jnp.asarray(p) for p in window_positions(start, end, tiny.WINDOW))
        spare = slots - len(seen)
        kv = [[*(clean[f][i] for f in seen), *[nothing] * spare] for i in (0, 1)]
        kv = KeyValues(*(jnp.concatenate(parts, axis=2) for parts in kv))
        past = Past(kv, jnp.pad(keys[: len(seen)], (0, spare)), jnp.arange(slots) < len(seen))
        chunk = jax.tree.map(lambda a, k=k: a[k], condition.chunks(3))
        x = noise[k, 0]
        for i in range(exit_step):
            x0, _ = predict(base, hold(part), condition, chunk, x, tiny.T_LIST[i], past, queries)
            x = flow.add_noise(x0, noise[k, i + 1], jnp.asarray(tiny.T_LIST[i + 1]))
        x0, _ = predict(base, part, condition, chunk, x, tiny.T_LIST[exit_step], past, queries)
        made.append(x0)
        _, kv = predict(base, hold(part), condition, chunk, hold(x0), 0.0, past, queries)
        clean += [tuple(a[:, :, f * tokens : (f + 1) * tokens] for a in kv) for f in range(3)]
    return jnp.concatenate(made, axis=1)


@pytest.mark.parametrize("exit_step", [0, 1])
def test_chunk_by_chunk_equals_the_whole(exit_step):
    """With pairs on a base; the golden networks train every parameter."""
    base, part, condition, noise = setting()
    cotangent = tiny.draw(5, *condition.masked_video.shape, dtype=jnp.float64)
    made = tiny.roll_out(base, part, condition, noise, exit_step)
    found = learn(base, part, made, condition, cotangent, tiny.WINDOW)

    def loss(part):
        x0 = whole_rollout(base, part, condition, noise, exit_step)
        return jnp.sum(x0 * cotangent), x0

    expected, x0 = jax.grad(loss, has_aux=True)(part)
    assert tiny.difference(made.x0, x0) < 1e-12
    assert tiny.difference(found, expected) < 1e-12
    assert all(tiny.largest(leaf) > 0 for leaf in jax.tree.leaves(found))


def test_the_gradient_has_the_trained_part_only():
    base, part, condition, noise = setting()
    made = tiny.roll_out(base, part, condition, noise, 1)
    found = learn(base, part, made, condition, jnp.ones_like(made.x0), tiny.WINDOW)
    assert jax.tree.structure(found) == jax.tree.structure(part)
    paths = {path[-1] for path, _ in nnx.to_flat_state(found) if path[0] == "blocks"}
    assert paths == {"lora_a", "lora_b"}
    assert {path[0] for path, _ in nnx.to_flat_state(found)} == {
        "blocks", "audio_proj", "audio_cond_projs", "patch_embedding"
    }  # fmt: skip


def test_an_emptied_past_changes_later_chunks_only():
    """The reference's quirk: the first chunk has no past, all others get another gradient (spec training, T1)."""
    base, part, condition, noise = setting()
    made = tiny.roll_out(base, part, condition, noise, 1)
    first = jnp.zeros_like(made.x0).at[:, :3].set(1.0)
    for cotangent, same in ((first, True), (1.0 - first, False)):
        true = learn(base, part, made, condition, cotangent, tiny.WINDOW)
        quirk = learn(base, part, made, condition, cotangent, tiny.WINDOW, remat=student.zeroed_past)
        assert (tiny.difference(quirk, true) < 1e-12) == same


@pytest.mark.parametrize("spoil", ["sound", "noise", "cotangent"])
def test_a_sample_that_is_not_finite_is_left_out(spoil):
    base, part, condition, noise = setting()
    cotangent = tiny.draw(5, *condition.masked_video.shape, dtype=jnp.float64)
    made = tiny.roll_out(base, part, condition, noise, 1)
    alone = cotangent.at[0].set(0.0)
    expected = learn(base, part, made, condition, alone, tiny.WINDOW)
    if spoil == "sound":
        condition = condition._replace(audio=condition.audio.at[0, 4].set(jnp.nan))
    elif spoil == "noise":
        noise = noise.at[1, 0, 0, 0, 0, 0, 0].set(jnp.inf)
    else:
        cotangent = cotangent.at[0, 0].set(jnp.nan)
    made = tiny.roll_out(base, part, condition, noise, 1)
    assert bool(student.finite_samples(made, condition)[0]) == (spoil == "cotangent")
    found = learn(base, part, made, condition, cotangent, tiny.WINDOW)
    assert tiny.difference(found, expected) < 1e-12
