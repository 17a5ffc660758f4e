"""Networks with weights that NumPy draws: a module's own initialisers take longer to compile than most tests take."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import nnx

SPREAD = 0.1
"""Of biases around 0, and of the gains and variances of norms around 1: none is what it begins as."""
ABOUT_ONE = ("scale", "variance", "gamma")
GAIN = 1.6
"""Of the variance that kernels give: between what keeps a scale through a sum, 1, and through a rectifier, 2."""
STACKED = "blocks"
"""Of the diffusion network, whose parameters lie over one another along their first axis."""


def drawn_network(make: Callable[[], nnx.Module], seed: int = 0) -> nnx.Module:
    """The module that `make()` declares; kernels a little more than keep the scale of what goes through.

    Outputs are no smaller than those of a module's own initialisers, so bounds on differences mean as much.
    """
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(nnx.eval_shape(make))
    flat = dict(nnx.to_flat_state(params))
    for path, leaf in flat.items():
        noise = rng.standard_normal(leaf.shape)
        if path[-1] in ABOUT_ONE:
            value = np.abs(1 + SPREAD * noise)
        elif path[-1] == "kernel":
            value = noise * np.sqrt(GAIN / np.prod(leaf.shape[path[0] == STACKED : -1]))
        else:
            value = SPREAD * noise
        flat[path] = leaf.replace(jnp.asarray(value, leaf.dtype))
    return nnx.merge(graphdef, nnx.from_flat_state(flat))
