"""The TPU's attention kernel, its program run without a TPU, against plain attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.models import splash
from lipforcing_jax.models.attention import attend

TOKENS, HEADS, WIDTH = 128, 1, 128
MASK = jnp.asarray([[1, 0, 1], [0, 1, 1]], bool)


def draw(seed: int, frames: int):
    shape = (1, frames * TOKENS, HEADS, WIDTH)
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "by frame"])
def test_values_and_gradients_are_those_of_plain_attention(mask):
    given, pull = (draw(0, 2), draw(1, 3), draw(2, 3)), draw(3, 2)
    plain, back = jax.vjp(lambda *qkv: attend(*qkv, mask), *given)
    tiled, back_tiled = jax.vjp(jax.jit(lambda *qkv: splash.attend(*qkv, mask, interpret=True)), *given)
    np.testing.assert_allclose(tiled, plain, atol=5e-6)
    for a, b in zip(back_tiled(pull), back(pull), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5)


def test_only_whole_tiles_fit():
    q, k = draw(0, 2), draw(1, 3)
    assert splash.fits(q, k, None) and splash.fits(q, k, MASK)
    assert not splash.fits(q[:, :-1], k, None)
    assert not splash.fits(q, k, jnp.ones((4, 3), bool))
    assert not splash.fits(q[..., :64], k[..., :64], None)


def test_tiles_are_as_large_as_a_frame_allows():
    assert [splash.tile(n) for n in (1024, 21504, 640, 128, 100)] == [512, 512, 128, 128, None]
