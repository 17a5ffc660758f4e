"""The loss of nano's ear."""

import jax
import jax.numpy as jnp
import numpy as np
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
