"""Attention for CPUs, one head after the other, against plain attention; and a text of a single row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import attention
from lipforcing_jax.models.attention import attend, attend_by_head, attend_plainly
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import PRESETS

MASK = jnp.asarray([[1, 0, 1], [0, 1, 1]], bool)


def draw(seed: int, *shape: int, dtype=jnp.float64):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def given(dtype=jnp.float64):
    """Queries, keys and values of two frames that see three, each of four tokens."""
    return tuple(draw(seed, 2, tokens, 3, 5, dtype=dtype) for seed, tokens in enumerate((8, 12, 12)))


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "by frame"])
def test_values_and_gradients_are_those_of_plain_attention(mask):
    with jax.enable_x64(True):
        pull = draw(3, 2, 8, 3, 5)
        plain, back = jax.vjp(lambda *qkv: attend_plainly(*qkv, mask), *given())
        found, back_found = jax.vjp(lambda *qkv: attend_by_head(*qkv, mask), *given())
        np.testing.assert_allclose(found, plain, atol=1e-12)
        for a, b in zip(back_found(pull), back(pull), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_few_logits_are_made_together_and_many_one_head_at_a_time(monkeypatch):
    def room(backend: str) -> int:
        """Bytes that values and gradients take beside themselves."""
        both = jax.jit(jax.grad(lambda *qkv: attend(*qkv, backend=backend).sum(), argnums=(0, 1, 2)))
        return both.lower(*(draw(seed, 2, 96, 8, 4, dtype=jnp.float32) for seed in range(3))).compile(
        ).memory_analysis().temp_size_in_bytes  # fmt: skip

    logits = 2 * 8 * 96 * 96 * 4
    assert room("by_head") == room("xla") > logits
    monkeypatch.setattr(attention, "AT_ONCE", 2 * 8 * 96 * 96 - 1)
    assert room("by_head") < logits


def test_a_single_row_of_text_is_seen_by_every_token():
    """Exactly as two rows that are alike are seen, whoever asks."""
    preset = PRESETS["nano"]
    model = drawn_network(lambda: DiT(preset.dit, rngs=nnx.Rngs(0)))
    model.head.kernel[...] = draw(9, *model.head.kernel.shape, dtype=jnp.float32)
    cells = (1, 2, preset.latent_size, preset.latent_size)
    x, condition = draw(0, *cells, 16, dtype=jnp.float32), draw(1, *cells, 49, dtype=jnp.float32)
    text, audio = draw(2, 1, 1, 16, dtype=jnp.float32), draw(3, 1, 2, 256, dtype=jnp.float32)

    @jax.jit
    def see(text):
        keys = model.text_keys(text)
        return model(x, condition, jnp.full((1, 1), 0.5), keys, audio, positions=jnp.arange(2))[0]

    alike = see(jnp.repeat(text, 2, axis=1))
    np.testing.assert_allclose(see(text), alike, atol=5e-6 * float(jnp.abs(alike).max()))
    assert float(jnp.abs(see(text) - see(-text)).max()) > 0.01
