"""The Wan autoencoder's parameters under the names and shapes of `Wan2.1_VAE.pth` (spec inference 6.2, 6.3).

Convolutions are [out, in, (frame,) row, column] there and [(frame,) row, column, in, out] here; 1x1 convolutions are
linear layers here; gains keep their axes of length one there.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.weights.abstract import abstract_parameters

RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
RESAMPLE = {"space": "resample.1", "time": "time_conv"}
MIDDLE = 3
"""Layers at the lowest resolution: last in the encoder, first in the decoder."""


def reference_name(path: tuple, layers: int) -> str:
    """State-dict key of one of our parameters; `layers` is the number of layers of its half."""
    leaf = "weight" if path[-1] == "kernel" else path[-1]
    if path[0] in ("moments", "unmix"):
        return f"{'conv1' if path[0] == 'moments' else 'conv2'}.{leaf}"
    half, part = path[:2]
    if part != "layers":
        return f"{half}.{ {'stem': 'conv1', 'head_norm': 'head.0', 'head': 'head.2'}[part] }.{leaf}"
    where, inside = place(half, path[2], layers), path[3]
    return f"{half}.{where}.{RESIDUAL.get(inside, RESAMPLE.get(inside, inside))}.{leaf}"


def place(half: str, index: int, layers: int) -> str:
    """Where the reference keeps layer `index` of one half."""
    if half == "encoder":
        stages = layers - MIDDLE
        return f"downsamples.{index}" if index < stages else f"middle.{index - stages}"
    return f"middle.{index}" if index < MIDDLE else f"upsamples.{index - MIDDLE}"


def to_ours(path: tuple, value: np.ndarray, rank: int) -> np.ndarray:
    """One reference tensor in our layout; `rank` is the number of axes that it has here."""
    if path[-1] == "gamma":
        return value.reshape(-1)
    if path[-1] == "kernel" and rank == 2:
        return value.reshape(value.shape[:2]).T
    return np.moveaxis(value, (0, 1), (-1, -2)) if path[-1] == "kernel" else value


def to_reference(path: tuple, value: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    in_attention = path[-2] in ("to_qkv", "proj") or "norm" in path
    if path[-1] == "gamma":
        return value.reshape(-1, *(1,) * (2 if in_attention else 3))
    if path[-1] == "kernel" and value.ndim == 2:
        return value.T.reshape(*value.T.shape, *(1,) * (2 if in_attention else 3))
    return np.moveaxis(value, (-1, -2), (0, 1)) if path[-1] == "kernel" else value


def _abstract(cfg: WanVAEConfig) -> tuple[Mapping[tuple, nnx.Param], dict[str, int]]:
    """Flat map from our paths to shapes, and the number of layers of both halves."""
    leaves = abstract_parameters(WanVAE, cfg)
    numbers = {half: {p[2] for p in leaves if p[:2] == (half, "layers")} for half in ("encoder", "decoder")}
    return leaves, {half: len(found) for half, found in numbers.items()}


def manifest(cfg: WanVAEConfig) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    leaves, counts = _abstract(cfg)
    return {
        reference_name(path, counts.get(path[0], 0)): to_reference(
            path, np.broadcast_to(np.float32(0), leaf.shape)
        ).shape
        for path, leaf in leaves.items()
    }


def from_reference(get: Callable[[str], np.ndarray], cfg: WanVAEConfig, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    leaves, counts = _abstract(cfg)
    flat = {}
    for path, leaf in leaves.items():
        name = reference_name(path, counts.get(path[0], 0))
        value = np.asarray(to_ours(path, get(name), len(leaf.shape)), dtype)
        if value.shape != leaf.shape:
            raise ValueError(f"{name} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: WanVAEConfig) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    _, counts = _abstract(cfg)
    return {
        reference_name(path, counts.get(path[0], 0)): to_reference(path, np.asarray(leaf[...]))
        for path, leaf in nnx.to_flat_state(state)
    }
