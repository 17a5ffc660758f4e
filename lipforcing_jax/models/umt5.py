"""The UMT5 text encoder (spec inference 4), for any widths.

A layer is a module of its own and needs nothing but the tokens' states, so the 24 layers can be run one after the
other from a file that doesn't fit into memory. Every layer has its own position bias.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from lipforcing_jax.models.presets import UMT5Config


def bucket(distance: int, cfg: UMT5Config) -> int:
    """Which of the learned biases a key `distance` places after its query gets.

    Half of the buckets are for keys that come after. In each half the near distances have one bucket each; the others
    share the rest in equal steps of the logarithm, up to `max_distance`. In integers: at a power of two, where a
    step begins, rounding would decide.
    """
    half = cfg.num_buckets // 2
    near = half // 2
    far, side, away = half - near, half * (distance > 0), abs(distance)
    if away < near:
        return side + away
    # log(away / near) / log(max_distance / near) * far >= step, with both sides raised to powers.
    reached = (away**far * near**step >= cfg.max_distance**step * near**far for step in range(1, far))
    return side + near + sum(reached)


def buckets(length: int, cfg: UMT5Config) -> Int[np.ndarray, "n n"]:
    """The bucket of every query (row) and key (column) of `length` tokens."""
    table = np.array([bucket(distance, cfg) for distance in range(1 - length, length)])
    places = np.arange(length)
    return table[places[None, :] - places[:, None] + length - 1]


def norm(width: int, **kinds) -> nnx.RMSNorm:
    """Root-mean-square norm with the network's epsilon; no mean and no bias."""
    return nnx.RMSNorm(width, epsilon=1e-6, **kinds)


class Layer(nnx.Module):
    """Self-attention without scaling, then a gated feed-forward, each after a norm and beside a shortcut."""

    def __init__(self, cfg: UMT5Config, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg = cfg
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        plain, inner = kinds | {"use_bias": False}, cfg.num_heads * cfg.head_dim
        self.norm1, self.norm2 = norm(cfg.dim, **kinds), norm(cfg.dim, **kinds)
        self.q, self.k, self.v = (nnx.Linear(cfg.dim, inner, **plain) for _ in range(3))
        self.o = nnx.Linear(inner, cfg.dim, **plain)
        self.position = nnx.Embed(cfg.num_buckets, cfg.num_heads, **kinds)
        self.gate, self.fc1 = (nnx.Linear(cfg.dim, cfg.ffn_dim, **plain) for _ in range(2))
        self.fc2 = nnx.Linear(cfg.ffn_dim, cfg.dim, **plain)

    def position_bias(self, length: int) -> Float[Array, "heads n n"]:
        """What is added to the logit of every query (row) and key (column)."""
        return jnp.moveaxis(self.position(buckets(length, self.cfg)), -1, 0)

    def attend(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None) -> Float[Array, "b n d"]:
        q, k, v = (p(x).reshape(*x.shape[:2], self.cfg.num_heads, -1) for p in (self.q, self.k, self.v))
        seen = None if mask is None else mask[:, None, None]
        bias = self.position_bias(x.shape[1])[None]
        return self.o(jax.nn.dot_product_attention(q, k, v, bias, seen, scale=1.0).reshape(*x.shape[:2], -1))

    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None) -> Float[Array, "b n d"]:
        """`mask` is False at padding: no token sees it, while its own states are computed like the others'."""
        x = x + self.attend(self.norm1(x), mask)
        y = self.norm2(x)
        return x + self.fc2(self.fc1(y) * jax.nn.gelu(self.gate(y), approximate=True))


class UMT5Encoder(nnx.Module):
    """The whole encoder in memory, its layers stacked; `weights/text_encoder.py` runs it from a file."""

    def __init__(self, cfg: UMT5Config, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg = cfg
        kinds = {"dtype": dtype, "param_dtype": param_dtype}
        self.embedding = nnx.Embed(cfg.vocab, cfg.dim, rngs=rngs, **kinds)
        make = nnx.vmap(lambda r: Layer(cfg, rngs=r, **kinds), in_axes=(0,), out_axes=0)
        self.layers = make(rngs.split(cfg.num_layers))
        self.norm = norm(cfg.dim, rngs=rngs, **kinds)

    def states(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None) -> Float[Array, "layers b n d"]:
        """The tokens' states after every layer, before the closing norm."""
        graphdef, stacked = nnx.split(self.layers)

        def one(x, layer):
            x = nnx.merge(graphdef, layer)(x, mask)
            return x, x

        return jax.lax.scan(one, self.embedding(ids), stacked)[1]

    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None) -> Float[Array, "b n d"]:
        """States of all positions, padding included; the diffusion network is given zeros there."""
        return self.norm(self.states(ids, mask)[-1])
