"""The error by which the autoencoder's decoder learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.distill.autoencoding import pyramid_error

GREY = jnp.full((1, 16, 16, 3), 0.5)


def test_large_areas_count_at_both_ends_of_the_pyramid():
    """Once among the pixels, and once more at the coarsest level; no level between sees them."""
    assert pyramid_error(GREY + 0.1, GREY) == pytest.approx(2 * 0.1**2, rel=1e-4)


def test_fine_edges_count_once_more_than_their_pixels():
    """A chequered difference is among the pixels and in the finest level, and gone from the next."""
    chequered = 0.1 * (-1.0) ** np.add.outer(np.arange(16), np.arange(16))[..., None]
    assert pyramid_error(GREY + chequered, GREY) == pytest.approx(2 * 0.1**2, rel=1e-4)


def test_it_settles_on_the_mean_of_what_may_be_true():
    """Of three pictures, two alike, no weight pulls the mean either way; absolute differences would go to the two."""
    keys = jax.random.split(jax.random.key(0))
    often, once = (jax.random.uniform(key, (1, 16, 16, 3)) for key in keys)
    doubt = lambda guess: 2 * pyramid_error(guess, often) + pyramid_error(guess, once)  # noqa: E731
    mean = (2 * often + once) / 3
    pull, elsewhere = jax.grad(doubt)(mean), jax.grad(doubt)(often)
    assert float(jnp.abs(pull).max()) < 1e-4 * float(jnp.abs(elsewhere).max())
