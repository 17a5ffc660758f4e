"""SyncNet's parameters under the names and shapes of `syncnet_v2.model` (spec training 3.3).

Each tower is a flat list there: convolution, norm, rectifier, and a pool after some. Convolutions are [out, in,
(frame,) row, column] there and [row, column, in, out] here, where a face's frames are channels, the earliest first.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.weights.abstract import abstract_parameters

PARTS = {"face": "netcnnlip", "sound": "netcnnaud", "face_head": "netfclip", "sound_head": "netfcaud"}
CONVS = (0, 4, 8, 11, 14, 18)
"""Numbers of the convolutions in both towers; the norm is the next one."""
IN_HEAD = {"inner": 0, "norm": 1, "outer": 3}
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "variance": "running_var"}
IGNORED = tuple(f"{PARTS[tower]}.{i + 1}.num_batches_tracked" for tower in ("face", "sound") for i in CONVS) + tuple(
    f"{PARTS[head]}.1.num_batches_tracked" for head in ("face_head", "sound_head")
)
"""Counters of the training, which files of older versions do not have and nothing reads."""


def reference_name(path: tuple) -> str:
    """State-dict key of one of our parameters."""
    part, kind, leaf = path[0], path[1], LEAVES.get(path[-1], path[-1])
    if part.endswith("_head"):
        return f"{PARTS[part]}.{IN_HEAD[kind]}.{leaf}"
    return f"{PARTS[part]}.{CONVS[path[2]] + (kind == 'norms')}.{leaf}"


def to_ours(value: np.ndarray) -> np.ndarray:
    """One reference tensor in our layout."""
    if value.ndim == 5:
        out, channels, frames, *kernel = value.shape
        return value.transpose(3, 4, 2, 1, 0).reshape(*kernel, frames * channels, out)
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def to_reference(path: tuple, value: np.ndarray, cfg: SyncNetConfig) -> np.ndarray:
    """The inverse of `to_ours`."""
    if path[0] == "face" and value.ndim == 4:
        frames = cfg.frames if path[2] == 0 else 1
        *kernel, channels, out = value.shape
        return value.reshape(*kernel, frames, channels // frames, out).transpose(4, 3, 2, 0, 1)
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def abstract_state(cfg: SyncNetConfig) -> Mapping[tuple, nnx.Param]:
    """Flat map from our parameter paths to shapes."""
    return abstract_parameters(SyncNet, cfg)


def manifest(cfg: SyncNetConfig) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    return {
        reference_name(path): to_reference(path, np.broadcast_to(np.float32(0), leaf.shape), cfg).shape
        for path, leaf in abstract_state(cfg).items()
    }


def from_reference(get: Callable[[str], np.ndarray], cfg: SyncNetConfig, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    flat = {}
    for path, leaf in abstract_state(cfg).items():
        name = reference_name(path)
        value = np.asarray(to_ours(get(name)), dtype)
        if value.shape != leaf.shape:
            raise ValueError(f"{name} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: SyncNetConfig) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    return {
        reference_name(path): to_reference(path, np.asarray(leaf[...]), cfg) for path, leaf in nnx.to_flat_state(state)
    }
