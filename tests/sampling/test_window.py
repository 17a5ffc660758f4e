"""Attention windows, the rolling cache and the chunk plan against the tables of the specification."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT, KeyValues
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.sampling import cache as kv_cache
from lipforcing_jax.sampling.plan import chunk_lengths, ping_pong, plan, reference_plan
from lipforcing_jax.sampling.window import block_causal_mask, visible_frames, window_positions

CFG = replace(
    presets.by_name("nano").dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4, freq_dim=16, audio_dim=4, residual=False
)
PAIRS = [(7, 1), (10, 1), (13, 1), (9, 3), (12, 3), (-1, 0)]


def test_released_window_over_twenty_chunks():
    """Spec inference 5.5."""
    window = WindowConfig()
    for k in range(20):
        frames = visible_frames(3 * k, 3 * k + 3, window)
        keys, queries = window_positions(3 * k, 3 * k + 3, window)
        expected = list(range(3 * k + 3)) if k < 2 else [0, *range(3 * k - 3, 3 * k + 3)]
        assert frames == expected
        assert keys == list(range(len(expected))) and queries == keys[-3:]
    assert queries == [4, 5, 6]


@pytest.mark.parametrize(("window", "sink"), PAIRS)
def test_cache_holds_the_frames_that_the_next_chunk_may_see(window, sink):
    cfg = WindowConfig(3, window, sink)
    cache = kv_cache.empty(CFG, cfg, 1, 2, jnp.float32, latent_frames=60)
    for k in range(19):
        held = [int(f) for f in cache.frames if f >= 0]
        assert held == visible_frames(3 * k, 3 * k + 3, cfg)[:-3]
        marks = np.repeat(np.arange(3 * k, 3 * k + 3), 2).reshape(1, 1, 6, 1, 1)
        kv = jnp.broadcast_to(jnp.asarray(marks, jnp.float32), (CFG.num_layers, 1, 6, CFG.num_heads, CFG.head_dim))
        cache = kv_cache.write(cache, KeyValues(kv, -kv), jnp.asarray(3 * k), cfg)
        stored = np.asarray(cache.k[0, 0, : int(cache.length), :, 0, 0])
        np.testing.assert_array_equal(stored, np.repeat(cache.frames[: int(cache.length), None], 2, axis=1))


def test_unlimited_window_needs_the_length():
    with pytest.raises(ValueError, match="length"):
        kv_cache.empty(CFG, WindowConfig(window=-1, sink=0), 1, 2, jnp.float32)


@pytest.mark.parametrize(("window", "sink"), PAIRS)
def test_cached_chunks_equal_the_block_causal_whole(window, sink):
    """Absolute positions, one noise level, the cache filled from the same latents (spec network 10, test 3)."""
    cfg, frames = WindowConfig(3, window, sink, dynamic_rope=False), 15
    model = drawn_network(lambda: DiT(CFG, rngs=nnx.Rngs(0)))
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)  # noqa: E731
    x, y, audio = draw(1, 1, frames, 8, 8, 16), draw(2, 1, frames, 8, 8, 49), draw(3, 1, frames, 4 * CFG.audio_dim)
    text, t = jax.jit(DiT.text_keys)(model, draw(4, 1, 1, CFG.text_dim)), jnp.full((1, 1), 0.3)
    mask = jnp.asarray(block_causal_mask(frames, cfg))
    whole, _ = jax.jit(DiT.__call__)(model, x, y, t, text, audio, positions=jnp.arange(frames), frame_mask=mask)
    tokens = (8 // CFG.patch[1]) * (8 // CFG.patch[2])
    cache = kv_cache.empty(CFG, cfg, 1, tokens, jnp.float32, frames)
    step = jax.jit(
        lambda cache, x, y, audio, start: model(
            x, y, t, text, audio, positions=kv_cache.query_positions(cache, start, cfg), past=kv_cache.past(cache, cfg)
        )
    )
    for s in range(0, frames, 3):
        part = slice(s, s + 3)
        velocity, kv = step(cache, x[:, part], y[:, part], audio[:, part], jnp.asarray(s))
        np.testing.assert_allclose(velocity, whole[:, part], atol=2e-5)
        cache = kv_cache.write(cache, kv, jnp.asarray(s), cfg)


def test_window_local_positions_differ_once_the_window_slides():
    keys, _ = window_positions(9, 12, WindowConfig())
    absolute, _ = window_positions(9, 12, WindowConfig(dynamic_rope=False))
    assert keys == [0, 1, 2, 3, 4, 5, 6] and absolute == [0, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("frames", "covered"), [(25, 21), (50, 45), (75, 69), (81, 81), (100, 93), (250, 249), (260, 249), (5077, 5073)]
)
def test_reference_lengths(frames, covered):
    """Spec inference 1.2."""
    cut = reference_plan(frames)
    assert cut.frames == cut.generated == covered


@pytest.mark.parametrize("frames", [1, 9, 10, 21, 22, 81, 100, 5077])
def test_our_plan_covers_every_frame_with_less_than_a_chunk_to_spare(frames):
    cut = plan(frames)
    assert cut.frames == frames and 0 <= cut.generated - frames < 12


def test_remainder_joins_the_first_chunk():
    assert chunk_lengths(21, 3) == (3,) * 7
    assert chunk_lengths(10, 3) == (4, 3, 3)
    assert chunk_lengths(2, 3) == (2,)


def test_ping_pong_turns_without_doubling_the_ends():
    assert [ping_pong(i, 4) for i in range(10)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
