"""What a backward pass recomputes changes its work and no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax.distill.condition import predict_x0
from lipforcing_jax.errors import UserError
from lipforcing_jax.models.remat import POLICIES, recomputed
from lipforcing_jax.planning import operations


def layer(x, w):
    """A linear layer, a product with a batch as attention has it, and another linear layer."""
    hidden = jnp.tanh(x @ w)
    mixed = jnp.einsum("bnm,bmd->bnd", jax.nn.softmax(jnp.einsum("bnd,bmd->bnm", hidden, hidden)), hidden)
    return jnp.tanh(mixed @ w), None


def loss(w, x, remat):
    return jnp.sum(jax.lax.scan(recomputed(layer, remat), x, w)[0] ** 2)


learn = jax.jit(jax.grad(loss), static_argnums=2)
WEIGHTS, INPUTS = tiny.draw(0, 3, 8, 8), tiny.draw(1, 2, 4, 8)


def test_gradients_are_the_same():
    plain = learn(WEIGHTS, INPUTS, "none")
    for policy in ("dots", "full"):
        np.testing.assert_allclose(learn(WEIGHTS, INPUTS, policy), plain, rtol=1e-5, atol=1e-5)


def test_what_is_recomputed_is_work():
    work = {remat: operations.of_traced(learn.trace(WEIGHTS, INPUTS, remat)) for remat in (*POLICIES, True, False)}
    assert work["none"] < work["dots"] < work["full"]
    assert work[True] == work["full"] and work[False] == work["none"]


def test_the_network_knows_the_policies():
    """Traced, not run."""
    base, part = tiny.network()
    condition, x = tiny.condition(1), tiny.draw(3, 1, tiny.FRAMES, tiny.CELLS, tiny.CELLS, tiny.CFG.latent_channels)

    def loss(part, remat):
        return jnp.sum(predict_x0(base.join(part), x, jnp.full((1,), 0.7), condition, remat=remat) ** 2)

    trace = jax.jit(jax.grad(loss), static_argnums=1).trace
    none, dots, full = (operations.of_traced(trace(part, policy)) for policy in POLICIES)
    assert none < dots < full


def test_unknown_policies_are_refused():
    with pytest.raises(UserError, match="choose one of none, dots, full"):
        recomputed(layer, "some")
