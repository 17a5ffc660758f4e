"""The Wan 2.1 diffusion transformer with OmniAvatar audio and video-to-video inputs (spec network 1).

One class serves the bidirectional teacher and the causal student: they share parameters and block mathematics and
differ only in what the caller passes as positions, mask and past keys. Latents are channels-last, [b, t, h, w, c].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from lipforcing_jax.models import rope
from lipforcing_jax.models.attention import Backend, attend, places
from lipforcing_jax.models.conditioning import (
    AudioPack,
    AudioProjections,
    injected,
    repeat_per_token,
    split_modulation,
)
from lipforcing_jax.models.lora import linear
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.models.remat import Remat, recomputed
from lipforcing_jax.parallel.sharding import constrain, in_two_steps


class KeyValues(NamedTuple):
    """Keys and values of all blocks, stacked on a leading layer axis. Keys are normalised and not yet rotated."""

    k: Float[Array, "layers b n heads d"]
    v: Float[Array, "layers b n heads d"]


class Past(NamedTuple):
    """What a chunk remembers: earlier keys and values, each frame's rotary position, and which frames are real."""

    kv: KeyValues
    positions: Int[Array, " frames"]
    valid: Bool[Array, " frames"]


def layer_norm(dim: int, **kwargs) -> nnx.LayerNorm:
    """Layer norm with the network's epsilon and an exact (two-pass) variance."""
    return nnx.LayerNorm(dim, epsilon=1e-6, use_fast_variance=False, **kwargs)


class RMSNorm(nnx.Module):
    """Root-mean-square norm over the whole width, all heads together (spec network 1.5 h)."""

    def __init__(self, dim: int, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.scale = nnx.Param(jnp.ones((dim,), param_dtype))

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
        return normed.astype(x.dtype) * self.scale[...].astype(x.dtype)


def in_tokens(x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Asks for slices of the tokens, where devices share them: the layers' side of the exchange with attention."""
    return constrain(x, "batch", "tokens", "wide")


class Attention(nnx.Module):
    """Projections of one attention layer; the caller rotates, gathers the past and calls `attend`."""

    def __init__(self, dim: int, num_heads: int, lora: LoRAConfig | None, **kinds):
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (linear(dim, dim, lora, **kinds) for _ in range(4))
        norm_kinds = {k: v for k, v in kinds.items() if k != "dtype"}
        self.norm_q, self.norm_k = RMSNorm(dim, **norm_kinds), RMSNorm(dim, **norm_kinds)

    def heads(self, x: Float[Array, "b n d"]) -> Float[Array, "b n heads hd"]:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)

    def query(self, x: Float[Array, "b n d"]) -> Float[Array, "b n heads hd"]:
        return self.heads(self.norm_q(in_tokens(self.q(x))))

    def key_value(self, x: Float[Array, "b n d"]) -> tuple[Float[Array, "b n heads hd"], Float[Array, "b n heads hd"]]:
        return self.heads(self.norm_k(in_tokens(self.k(x)))), self.heads(in_tokens(self.v(x)))

    def output(self, x: Float[Array, "b n heads hd"]) -> Float[Array, "b n d"]:
        x = constrain(x, "batch", "tokens", "wide", None)
        return self.o(in_tokens(x.reshape(*x.shape[:-2], -1)))


class Block(nnx.Module):
    """Self-attention, cross-attention to the text, feed-forward; shift, scale and gates from the timestep."""

    def __init__(self, cfg: DiTConfig, lora: LoRAConfig | None, **kinds):
        rngs, param_dtype = kinds["rngs"], kinds["param_dtype"]
        plain = {**kinds, "use_bias": False, "use_scale": False}
        self.modulation = nnx.Param(jax.random.normal(rngs.params(), (6, cfg.dim), param_dtype) / cfg.dim**0.5)
        self.norm1, self.norm2 = layer_norm(cfg.dim, **plain), layer_norm(cfg.dim, **plain)
        self.norm3 = layer_norm(cfg.dim, **kinds)
        self.self_attn = Attention(cfg.dim, cfg.num_heads, lora, **kinds)
        self.cross_attn = Attention(cfg.dim, cfg.num_heads, lora, **kinds)
        self.ffn_in = linear(cfg.dim, cfg.ffn_dim, lora, **kinds)
        self.ffn_out = linear(cfg.ffn_dim, cfg.dim, lora, **kinds)

    def __call__(self, x, audio, time, text, attention: "AttentionInputs", past):
        """x [b, n, d]; audio [b, n or 1, d]; time [b, n or 1, 6, d]; text: this block's keys and values.

        Returns the new x and this call's own keys (not rotated) and values.
        """
        modulation = self.modulation[...].astype(x.dtype) + time
        shift1, scale1, gate1, shift2, scale2, gate2 = split_modulation(modulation)
        x = audio + x
        attended, kv = self.attend_self(self.norm1(x) * (1 + scale1) + shift1, attention, past)
        x = x + attended * gate1
        x = x + self.cross_attn.output(self.attend_text(x, text, attention.backend))
        hidden = jax.nn.gelu(self.ffn_in(self.norm2(x) * (1 + scale2) + shift2), approximate=True)
        return constrain(x + self.ffn_out(in_tokens(hidden)) * gate2, "batch", "tokens", None), kv

    def attend_text(
        self, x: Float[Array, "b n d"], text: tuple[Array, Array], backend: Backend
    ) -> Float[Array, "b n_or_1 heads hd"]:
        """What every token sees of the text's keys and values, [b, l, heads, hd] each.

        A single row, as nano's, all tokens see whole, whatever they ask: it is returned once for all of them.
        """
        keys, values = text
        if keys.shape[1] == 1:
            return values
        return attend(self.cross_attn.query(self.norm3(x)), keys, values, backend=backend)

    def attend_self(self, u, attention: "AttentionInputs", past):
        q = rope.rotate(self.self_attn.query(u), attention.q_rotation)
        k, v = (constrain(x, *places(x)) for x in self.self_attn.key_value(u))
        keys, values = k, v
        if past is not None:
            keys = jnp.concatenate([past[0].astype(k.dtype), k], axis=1)
            values = jnp.concatenate([past[1].astype(v.dtype), v], axis=1)
        keys = rope.rotate(keys, attention.k_rotation)
        attended = attend(q, keys, values, attention.frame_mask, backend=attention.backend)
        return self.self_attn.output(attended), (k, v)


class AttentionInputs(NamedTuple):
    """Rotations and visibility shared by all blocks of one call."""

    q_rotation: Float[Array, "2 n pairs"]
    k_rotation: Float[Array, "2 m pairs"]
    frame_mask: Bool[Array, "f g"] | None
    backend: Backend


def sinusoid(t: Float[Array, "*b"], width: int) -> Float[Array, "*b width"]:
    """Timestep embedding of 1000 t: cosines first, exponent denominator width / 2 (spec network 1.5 b).

    The reference evaluates it in float64. An angle near 999 has no digits to spare in float32, so there the product is
    formed from halves short enough to multiply exactly, in turns, of which only the fraction is kept.
    """
    half = width // 2
    turns_per_unit = 10000.0 ** (-np.arange(half) / half) / (2 * np.pi)
    timestep = 1000.0 * t[..., None]
    if t.dtype == jnp.float64:
        turns = timestep * turns_per_unit
    else:
        high = _short(turns_per_unit)
        low = jnp.asarray(turns_per_unit - high, jnp.float32)
        coarse = jnp.round(timestep)
        turns = jnp.mod(coarse * jnp.asarray(high, jnp.float32), 1.0)
        turns = turns + (timestep - coarse) * jnp.asarray(high, jnp.float32) + timestep * low
    angles = 2 * np.pi * turns
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def _short(x: np.ndarray, bits: int = 12) -> np.ndarray:
    """Rounds to `bits` significant bits; times an integer up to 1000 such a number is exact in float32."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


class DiT(nnx.Module):
    """Predicts the flow eps - x0 of a noisy latent video. With `lora`, every block carries low-rank pairs.

    `attention` is the back end of `models.attention.attend`; any parameters work with any.
    """

    def __init__(
        self, cfg: DiTConfig, *, lora: LoRAConfig | None = None, dtype=None, param_dtype=jnp.float32,
        attention: Backend = "xla", rngs: nnx.Rngs,
    ):  # fmt: skip
        self.cfg, self.dtype, self.attention = cfg, dtype, attention
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        patch = cfg.patch[1] * cfg.patch[2]
        self.patch_embedding = nnx.Linear(patch * cfg.in_dim, cfg.dim, **kinds)
        self.text_in = nnx.Linear(cfg.text_dim, cfg.dim, **kinds)
        self.text_out = nnx.Linear(cfg.dim, cfg.dim, **kinds)
        self.time_in = nnx.Linear(cfg.freq_dim, cfg.dim, **kinds)
        self.time_out = nnx.Linear(cfg.dim, cfg.dim, **kinds)
        self.time_projection = nnx.Linear(cfg.dim, 6 * cfg.dim, **kinds)
        self.audio_proj = AudioPack(cfg.audio_dim, cfg.audio_hidden, **kinds)
        self.audio_cond_projs = AudioProjections(
            cfg.audio_projections, cfg.audio_hidden, cfg.dim, param_dtype=param_dtype, rngs=rngs
        )
        make = nnx.vmap(lambda r: Block(cfg, lora, **(kinds | {"rngs": r})), in_axes=(0,), out_axes=0)
        self.blocks = make(rngs.split(cfg.num_layers))
        self.head_norm = layer_norm(cfg.dim, **kinds, use_bias=False, use_scale=False)
        self.head_modulation = nnx.Param(jax.random.normal(rngs.params(), (2, cfg.dim), param_dtype) / cfg.dim**0.5)
        start = {"kernel_init": nnx.initializers.zeros} if cfg.residual else {}
        self.head = nnx.Linear(cfg.dim, patch * cfg.latent_channels, **kinds, **start)

    # -- the parts of a forward pass ---------------------------------------------------------------

    def embed_time(self, t: Float[Array, "b frames"], dtype) -> tuple[Float[Array, "b f d"], Float[Array, "b f 6 d"]]:
        """Time vectors for the head and, after one more SiLU and linear layer, for the blocks."""
        wide = t.astype(jnp.promote_types(t.dtype, jnp.float32))
        # Levels are few and these layers wide: on a mesh every device takes all levels through its slices of them.
        waves = constrain(sinusoid(wide, self.cfg.freq_dim).astype(dtype), None, None, None)
        e = constrain(self.time_out(jax.nn.silu(self.time_in(waves))), None, None, None)
        projected = constrain(self.time_projection(jax.nn.silu(e)), None, None, None)
        return e, projected.reshape(*e.shape[:2], 6, self.cfg.dim)

    def embed_text(self, text: Float[Array, "b l text"]) -> Float[Array, "b l d"]:
        return self.text_out(jax.nn.gelu(self.text_in(text), approximate=True))

    def text_keys(self, text: Float[Array, "b l text"]) -> KeyValues:
        """Cross-attention keys and values of every block; constant over a clip, so computed once."""
        context = self.embed_text(text)
        graphdef, stacked = nnx.split(self.blocks)

        def one(_, layer):
            return None, nnx.merge(graphdef, layer).cross_attn.key_value(context)

        return KeyValues(*jax.lax.scan(one, None, stacked)[1])

    def audio_vectors(self, grouped: Float[Array, "b t 4a"]) -> Float[Array, "n b t d"]:
        """What each listening block adds to every token of a latent frame."""
        return self.audio_cond_projs(self.audio_proj(grouped))

    def patchify(self, z: Float[Array, "b t h w c"]) -> Float[Array, "b n d"]:
        batch, frames, height, width, channels = z.shape
        _, ph, pw = self.cfg.patch
        z = z.reshape(batch, frames, height // ph, ph, width // pw, pw, channels)
        z = z.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, -1, ph * pw * channels)
        return self.patch_embedding(z)

    def unpatchify(self, r: Float[Array, "b n k"], shape: tuple[int, ...]) -> Float[Array, "b t h w c"]:
        batch, frames, height, width = shape[:4]
        _, ph, pw = self.cfg.patch
        r = r.reshape(batch, frames, height // ph, width // pw, ph, pw, self.cfg.latent_channels)
        return r.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, frames, height, width, -1)

    def attention_inputs(self, grid, positions, frame_mask, past: Past | None, dtype) -> AttentionInputs:
        """Rotations and visibility from per-frame positions and masks."""
        frames, height, width = grid
        dtype = rope.rope_dtype(dtype)
        q = rope.rotation(positions, height, width, self.cfg.head_dim, dtype)
        mask = frame_mask
        k = q
        if past is not None:
            k = jnp.concatenate([rope.rotation(past.positions, height, width, self.cfg.head_dim, dtype), q], axis=1)
            own = jnp.ones((frames, frames), bool) if frame_mask is None else frame_mask
            seen = jnp.broadcast_to(past.valid[None, :], (frames, past.valid.shape[0]))
            mask = jnp.concatenate([seen, own], axis=1)
        return AttentionInputs(q, k, mask, self.attention)

    # -- the forward pass --------------------------------------------------------------------------

    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        condition: Float[Array, "b t h w y"],
        t: Float[Array, "b frames"],
        text: KeyValues,
        audio: Float[Array, "b t 4a"],
        *,
        positions: Int[Array, " t"],
        frame_mask: Bool[Array, "t t"] | None = None,
        past: Past | None = None,
        head: bool = True,
        remat: Remat = False,
    ) -> tuple[Float[Array, "b t h w c"] | None, KeyValues]:
        """One pass over `t` latent frames.

        Args:
          x: noisy latents. condition: the other input channels (`conditioning.condition_channels`).
          t: noise level in [0, 0.999], one per sample ([b, 1]) or one per latent frame ([b, t]).
          text: `text_keys` of the prompt. audio: `conditioning.group_audio` rows of these frames.
          positions: rotary position of each frame. frame_mask: which frame may see which, None for all.
          past: keys and values of earlier chunks, seen by every query where valid.
          head: False skips the output layer, for passes that only fill the cache.
          remat: what the backward pass recomputes of each block instead of keeping its activations: a policy of
            `models.remat`, or a function of the block's function, `(hidden, layer) -> (hidden, keys and values)`.

        Returns:
          the flow (None without head) and the keys and values of these frames in every block, in the network's
          `dtype` if it has one and else in that of `x`.
        """
        x, condition, audio = (given.astype(self.dtype or x.dtype) for given in (x, condition, audio))
        batch, frames, height, width = x.shape[:4]
        grid = (frames, height // self.cfg.patch[1], width // self.cfg.patch[2])
        tokens = grid[1] * grid[2]
        attention = self.attention_inputs(grid, positions, frame_mask, past, x.dtype)
        e, projected = self.embed_time(t, x.dtype)
        six = projected.reshape(batch, -1, 6 * self.cfg.dim)
        sounds = constrain(injected(self.audio_vectors(audio), self.cfg.num_layers), None, "batch", None, None)
        graphdef, stacked = nnx.split(self.blocks)

        def one(hidden, layer):
            parameters, sound, block_text, block_past = layer
            block = nnx.merge(graphdef, in_two_steps(parameters))
            # Repeated here, what concerns frames alone is never stored token by token.
            time = repeat_per_token(six, tokens).reshape(batch, -1, 6, self.cfg.dim)
            return block(hidden, repeat_per_token(sound, tokens), time, block_text, attention, block_past)

        layers = (stacked, sounds, tuple(text), None if past is None else tuple(past.kv))
        tokens_in = constrain(self.patchify(jnp.concatenate([x, condition], axis=-1)), "batch", "tokens", None)
        hidden, kv = jax.lax.scan(recomputed(one, remat), tokens_in, layers)
        if not head:
            return None, KeyValues(*kv)
        output = self.predict(hidden, e, tokens, x.shape)
        return (self.residual_flow(output, x, condition, t) if self.cfg.residual else output), KeyValues(*kv)

    def residual_flow(self, output, x, condition, t: Float[Array, "b frames"]) -> Float[Array, "b t h w c"]:
        """The flow from x_t to the reference sequence plus `output`: (x_t - x0) / t."""
        x0 = condition[..., -self.cfg.latent_channels :] + output
        level = jnp.maximum(t, 1e-6)[:, :, None, None, None].astype(jnp.promote_types(x.dtype, jnp.float32))
        return ((x - x0) / level).astype(x.dtype)

    def predict(self, hidden, e, tokens: int, shape) -> Float[Array, "b t h w c"]:
        """Modulated norm, output layer, unpatchify. Takes the time vector e, not its projection."""
        both = self.head_modulation[...].astype(hidden.dtype) + repeat_per_token(e, tokens)[:, :, None, :]
        shift, scale = split_modulation(both)
        return self.unpatchify(self.head(self.head_norm(hidden) * (1 + scale) + shift), shape)
