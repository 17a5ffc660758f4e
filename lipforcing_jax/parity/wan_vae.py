"""The Wan autoencoder beside diffusers' `AutoencoderKLWan`."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers import AutoencoderKLWan
from flax import nnx

from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.models.wan_vae import WanVAE, decode_clip, encode_clip
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import wan_vae_names
from lipforcing_jax.weights.recipe import component_weight, normal
from lipforcing_jax.weights.wan_vae_diffusers import native_name

PEER = "diffusers"
SMALL = WanVAEConfig(dim=16)
FLOAT32 = 2e-5
"""Some thirty convolutions and two frameworks' orders of summation; measured 4e-6."""
BFLOAT16 = 6e-2
"""Of the largest value; the peer's own bfloat16 run is off by up to 5e-2."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """A narrow network in float32 and in bfloat16; with `full_width` also the released one, on a small clip."""
    yield from compare_network("wan_vae", SMALL, frames=9, size=32)
    yield from bfloat16_drift(SMALL, frames=9, size=32)
    if full_width:
        yield from compare_network("wan_vae, whole", WanVAEConfig(), frames=5, size=64)


def inputs(cfg: WanVAEConfig, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A video [1, v, h, w, 3] in [-1, 1] and unrelated latents [1, t, h, w, c]."""
    video = np.clip(0.5 * normal("input:parity.video", (1, frames, size, size, 3)), -1, 1)
    shape = (1, (frames + 3) // 4, size // cfg.space_factor, size // cfg.space_factor, cfg.latent_channels)
    return video.astype(np.float32), normal("input:parity.latent", shape).astype(np.float32)


def recipe(cfg: WanVAEConfig):
    """The recipe's weights by their reference names."""
    shapes = wan_vae_names.manifest(cfg)
    return lambda name: component_weight(name, shapes[name])


def run_peer(cfg: WanVAEConfig, video: np.ndarray, latents: np.ndarray, dtype=torch.float32) -> list[np.ndarray]:
    """Normalised latents of the video, and frames of the latents, clamped."""
    with torch.device("meta"):
        model = AutoencoderKLWan(
            base_dim=cfg.dim, z_dim=cfg.latent_channels, dim_mult=list(cfg.dim_mult),
            num_res_blocks=cfg.num_res_blocks, temperal_downsample=list(cfg.time_downscale),
        )  # fmt: skip
    get = recipe(cfg)
    tensors = {name: get(native_name(name, cfg.num_res_blocks)) for name in model.state_dict()}
    model.load_state_dict({name: torch.from_numpy(value).to(dtype) for name, value in tensors.items()}, assign=True)
    model.eval()
    mean, spread = np.array(cfg.latent_mean, np.float32), np.array(cfg.latent_std, np.float32)
    with torch.no_grad():
        encoded = channels_last(model.encode(channels_first(video, dtype)).latent_dist.mode())
        decoded = channels_last(model.decode(channels_first(latents * spread + mean, dtype)).sample)
    return [(encoded - mean) / spread, decoded]


def channels_first(x: np.ndarray, dtype) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy()).to(dtype)


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.float().numpy(), 1, -1)


def run_ours(cfg: WanVAEConfig, video: np.ndarray, latents: np.ndarray, dtype=jnp.float32) -> list[np.ndarray]:
    """The same from our network."""
    state = wan_vae_names.from_reference(recipe(cfg), cfg)
    state = jax.tree.map(lambda value: jnp.asarray(value, dtype), state)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: WanVAE(cfg, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0))))
    vae = nnx.merge(graphdef, state)
    encoded = jax.jit(encode_clip)(vae, jnp.asarray(video, dtype))
    decoded = jnp.clip(jax.jit(decode_clip)(vae, jnp.asarray(latents, dtype)), -1, 1)
    return [np.asarray(encoded, np.float32), np.asarray(decoded, np.float32)]


def compare_network(name: str, cfg: WanVAEConfig, frames: int, size: int) -> Iterator[Row]:
    """Encoder and decoder in float32, whole clip."""
    given = inputs(cfg, frames, size)
    for array, ours, theirs in zip(("latents", "frames"), run_ours(cfg, *given), run_peer(cfg, *given), strict=True):
        yield compare(name, array, PEER, ours, theirs, FLOAT32)


def bfloat16_drift(cfg: WanVAEConfig, frames: int, size: int) -> Iterator[Row]:
    """How far we stray in bfloat16 from float32, beside how far the peer does."""
    given = inputs(cfg, frames, size)
    exact, theirs = run_peer(cfg, *given), run_peer(cfg, *given, torch.bfloat16)
    ours = run_ours(cfg, *given, jnp.bfloat16)
    for i, array in enumerate(("latents", "frames")):
        drift = np.abs(theirs[i] - exact[i]).max() / np.abs(exact[i]).max()
        note = f"the peer's own drift is {drift:.1e}"
        yield compare("wan_vae, bfloat16", array, f"{PEER}, float32", ours[i], exact[i], BFLOAT16, note)
