"""The loss of nano's ear."""

import jax
import jax.numpy as jnp
import numpy as np
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.distill import hearing
from lipforcing_jax.models.audio import LogMelEncoder
from lipforcing_jax.models.presets import LogMelConfig

CFG = LogMelConfig(width=16, features=12, bands=32, memory=4, layers=2, look_ahead=2)


def test_the_loss_teaches_every_parameter():
    rngs = nnx.Rngs(0)
    graphdef, params = nnx.split(hearing.Listener(LogMelEncoder(CFG, rngs=rngs), 5, rngs=rngs))
    rng = np.random.default_rng(0)
    sound = jnp.asarray(rng.normal(0, 0.1, (2, 8 * 640)), jnp.float32)
    mouth, phones = jnp.asarray(rng.random((2, 8, 6)), jnp.float32), jnp.asarray(rng.integers(0, 5, (2, 8)))

    def value(params):
        return hearing.loss(graphdef, params, sound, mouth, phones, jax.random.key(0), 0.05)[0]

    found, gradients = jax.jit(jax.value_and_grad(value))(params)
    assert np.isfinite(found)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradients))


def test_a_former_ear_holds_the_code_where_it_was():
    """Its distance counts by its weight, and is nothing from itself."""
    former, other = (drawn_network(lambda: LogMelEncoder(CFG, rngs=nnx.Rngs(0)), seed) for seed in (0, 1))
    rng = np.random.default_rng(0)
    sound = jnp.asarray(rng.normal(0, 0.1, (2, 8 * 640)), jnp.float32)
    mouth, phones = jnp.asarray(rng.random((2, 8, 6)), jnp.float32), jnp.asarray(rng.integers(0, 5, (2, 8)))

    def value(encoder, weight):
        parts = nnx.split(hearing.Listener(encoder, 5, rngs=nnx.Rngs(1)))
        return hearing.loss(*parts, sound, mouth, phones, jax.random.key(0), 0.05, former, weight)

    assert value(former, 1.0)[1]["code_moved"] == 0
    (free, moved), (held, _) = value(other, 0.0), value(other, 2.0)
    assert moved["code_moved"] > 1e-3
    np.testing.assert_allclose(held - free, 2 * moved["code_moved"], rtol=1e-4)
