"""Starts the patch-wise tiny autoencoder at principal component analysis.

Sixteen principal components of 4 x 8 x 8 pixel blocks already carry a face at about 30 dB, and both halves of the
network can express them exactly: the encoder is linear above the offset that keeps its one rectifier open, and the
decoder can pass bounded numbers through every rectifier. Training then only has to add what a linear map cannot do.
Made for presets whose layers all work on one patch grid (no spatial steps between layers).
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from lipforcing_jax.media.mouth_mask import lips_cells
from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TinyVAE

FRAMES = 4
BOUND = 3.0
"""The decoder's tanh keeps latents within +-3; this offset keeps them positive."""


def blocks_of(frames: Float[np.ndarray, "n t s s 3"], patch: int) -> Float[np.ndarray, "m 4 k"]:
    """All blocks of four frames and one patch; pixels in the channel-major order of `space_to_depth`."""
    n, _, size, _, channels = frames.shape
    cells = size // patch
    x = frames[:, :FRAMES].reshape(n, FRAMES, cells, patch, cells, patch, channels)
    return x.transpose(0, 2, 4, 1, 6, 3, 5).reshape(-1, FRAMES, channels * patch * patch)


def cell_weights(cells: int, lips_weight: float) -> Float[np.ndarray, "cells cells"]:
    """How much each patch of a picture counts: those whose centres lie where lips move `lips_weight`, others 1.

    Lips are a fifteenth of the picture. Counted like skin, most of what they do is lost among the last components.
    """
    return np.where(lips_cells(cells), lips_weight, 1.0)


def components(blocks: Float[np.ndarray, "m 4 k"], weights: Float[np.ndarray, " m"], latents: int, stem: int):
    """Mean, basis and deviations of whole blocks, and the basis of single patches that the encoder's stem keeps; a
    block counts by its weight."""
    flat = blocks.reshape(len(blocks), -1)
    mean = np.average(flat, axis=0, weights=weights)
    values, vectors = np.linalg.eigh(np.cov(flat - mean, rowvar=False, aweights=weights))
    basis, deviation = vectors[:, ::-1][:, :latents], np.sqrt(values[::-1][:latents])
    patches = blocks * np.sqrt(weights / weights.mean())[:, None, None]
    patches = patches.reshape(-1, blocks.shape[-1])
    patch_basis = np.linalg.eigh(patches.T @ patches)[1][:, ::-1][:, :stem]
    return mean, basis.reshape(FRAMES, -1, latents), deviation, patch_basis


def centre(matrix: np.ndarray, size: int = 3) -> np.ndarray:
    """A kernel of `size` x `size` cells that applies [in, out] `matrix` to its own cell only."""
    kernel = np.zeros((size, size, *matrix.shape))
    kernel[size // 2, size // 2] = matrix
    return kernel


def set_param(param: nnx.Param, value: np.ndarray) -> None:
    assert param.shape == value.shape, (param.shape, value.shape)
    param[...] = jnp.asarray(value, param.dtype)


def start_encoder(vae: TinyVAE, cfg: TinyVAEConfig, mean, basis, deviation, patch_basis) -> None:
    """Stem: patches in their own components, lifted above zero. Pools: each pair of frames answers for both of its
    possible places in the block, 16 numbers each; the second pool takes the right ones. Head: scale and offset."""
    width, latents, size = cfg.encoder_stem, cfg.latent_channels, cfg.encoder_kernel
    lift = np.maximum(0, -patch_basis).sum(axis=0)
    set_param(vae.encoder.stem.kernel, centre(patch_basis, size))
    set_param(vae.encoder.stem.bias, lift)
    seen = np.einsum("fkl,kc->fcl", basis, patch_basis)
    first = np.zeros((2, width, width))
    for k in range(2):
        first[k, :, :latents], first[k, :, latents : 2 * latents] = seen[k], seen[2 + k]
    second = np.zeros((2, width, width))
    second[0, :latents, :latents] = second[1, latents : 2 * latents, :latents] = np.eye(latents)
    for pool, down, kernel in zip(vae.encoder.pools, vae.encoder.downs, (first, second), strict=True):
        set_param(pool.conv.kernel, kernel.reshape(1, 1, 2 * width, width))
        set_param(down.kernel, centre(np.eye(width), size))
    offset = np.einsum("fcl,c->l", seen, lift) + np.einsum("fkl,fk->l", basis, mean.reshape(FRAMES, -1))
    head = np.zeros((width, latents))
    head[:latents] = np.diag(1 / deviation)
    set_param(vae.encoder.head.kernel, centre(head, size))
    set_param(vae.encoder.head.bias, -offset / deviation)


def start_decoder(vae: TinyVAE, cfg: TinyVAEConfig, mean, basis, deviation) -> None:
    """Lays a straight path for the latents through every layer; all other channels keep their random start.

    A place holds the 16 lifted latents and a one. Each time-grow moves its frames to places of their own, so that the
    head can draw every frame of the block with its own part of the basis.
    """
    decoder, latents = vae.decoder, cfg.latent_channels
    place = latents + 1
    held = lambda i: slice(i * place, (i + 1) * place)  # noqa: E731

    def edit(param, change):
        value = np.array(param[...])
        change(value)
        set_param(param, value)

    def stem(kernel):
        kernel[..., :place] = 0
        kernel[1, 1, :, :latents] = np.eye(latents)

    edit(decoder.stem.kernel, stem)
    edit(decoder.stem.bias, lambda b: b.__setitem__(slice(place), [BOUND] * latents + [1.0]))
    for stage, places in zip(decoder.stages, (1, 2), strict=True):
        for block in stage:
            edit(block.conv3.kernel, lambda k, n=places: k.__setitem__((..., slice(n * place)), 0))
    for grow, out, places in zip(decoder.grows, decoder.outs, (1, 2), strict=True):
        width = out.kernel.shape[2]

        def grown(kernel, width=width, places=places):
            kernel = kernel.reshape(width, 2, width)
            kernel[:, :, : 2 * places * place] = 0
            for i in range(places):
                for k in range(2):
                    kernel[held(i), k, held(2 * i + k)] = np.eye(place)

        def passed(kernel, places=places):
            kernel[..., : 2 * places * place] = 0
            middle = kernel.shape[0] // 2
            kernel[middle, middle, : 2 * places * place, : 2 * places * place] = np.eye(2 * places * place)

        edit(grow.conv.kernel, grown)
        edit(out.kernel, passed)
    drawn = basis * deviation
    head = np.zeros((decoder.head.kernel.shape[2], drawn.shape[1]))
    for f in range(FRAMES):
        head[held(f)][:latents] = drawn[f].T
        head[held(f)][latents] = mean.reshape(FRAMES, -1)[f] - BOUND * drawn[f].sum(axis=1)
    set_param(decoder.head.kernel, centre(head, cfg.head_kernel))
    set_param(decoder.head.bias, np.zeros(decoder.head.bias.shape))


def start_at_components(vae: TinyVAE, frames: Float[np.ndarray, "n t s s 3"], lips_weight: float = 1.0) -> TinyVAE:
    """Sets the parameters of `vae` in place from sample clips in [0, 1], aligned faces; returns it."""
    cfg = vae.cfg
    weights = np.tile(cell_weights(frames.shape[2] // cfg.patch_size, lips_weight).ravel(), len(frames))
    found = components(blocks_of(frames, cfg.patch_size), weights, cfg.latent_channels, cfg.encoder_stem)
    start_encoder(vae, cfg, *found)
    start_decoder(vae, cfg, *found[:3])
    return vae
