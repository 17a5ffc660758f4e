"""Low-rank pairs beside frozen weights (spec network 5.1).

A linear layer that is told a rank carries two more matrices, `lora_a` and `lora_b`, and adds scale B(A x) to its
output. They are `nnx.LoRAParam`, so `nnx.split(model, nnx.LoRAParam, ...)` gives the pairs and the base as two pytrees:
teacher, student and critic are different pairs on one base.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.models.presets import LoRAConfig


class LowRankLinear(nnx.Linear):
    """W x + b + scale B(A x). B starts at zero, so a new pair changes nothing; biases are never adapted."""

    def __init__(self, width_in: int, width_out: int, lora: LoRAConfig, *, rngs: nnx.Rngs, **kinds):
        super().__init__(width_in, width_out, rngs=rngs, **kinds)
        self.scale = lora.scale
        # PyTorch's default for linear layers, uniform within 1 / sqrt(fan in), which PEFT keeps for A.
        init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        dtype = kinds.get("param_dtype", jnp.float32)
        self.lora_a = nnx.LoRAParam(init(rngs.params(), (width_in, lora.rank), dtype))
        self.lora_b = nnx.LoRAParam(jnp.zeros((lora.rank, width_out), dtype))

    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        y = super().__call__(x)
        a, b = (p[...].astype(y.dtype) for p in (self.lora_a, self.lora_b))
        return y + self.scale * ((x.astype(y.dtype) @ a) @ b)


def linear(width_in: int, width_out: int, lora: LoRAConfig | None, **kinds) -> nnx.Linear:
    """A linear layer, with a pair where `lora` gives a rank."""
    if lora is None:
        return nnx.Linear(width_in, width_out, **kinds)
    return LowRankLinear(width_in, width_out, lora, **kinds)


def merge(base: nnx.State, pairs: nnx.State, lora: LoRAConfig) -> nnx.State:
    """The base with every pair added into its kernel: W + scale A B, in the kernel's dtype.

    Both states may be stacked on leading axes. The sum is formed in float32 at least.

    Raises:
      KeyError: a pair has no kernel in the base.
    """
    flat, low_rank = dict(nnx.to_flat_state(base)), dict(nnx.to_flat_state(pairs))
    for path, a in low_rank.items():
        if path[-1] != "lora_a":
            continue
        kernel, b = flat[*path[:-1], "kernel"], low_rank[*path[:-1], "lora_b"]
        flat[*path[:-1], "kernel"] = kernel.replace(merged(kernel[...], a[...], b[...], lora))
    return nnx.from_flat_state(flat)


def merged(kernel: Float[Array, "*l i o"], a: Float[Array, "*l i r"], b: Float[Array, "*l r o"], lora: LoRAConfig):
    """One kernel [i, o] with its pair added."""
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    delta = jnp.matmul(a.astype(wide), b.astype(wide), precision=jax.lax.Precision.HIGHEST)
    return (kernel.astype(wide) + lora.scale * delta).astype(kernel.dtype)
