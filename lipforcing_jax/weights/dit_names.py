"""The DiT's parameters under the names and shapes of the reference's state dict (spec network 1.2).

`Linear.weight` is [out, in] there and a right-multiplying kernel [in, out] here; the patch convolution becomes a
linear layer over (row, column, channel) patches; blocks and audio projections are stacked on a leading axis.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.weights.abstract import abstract_parameters

RENAMED = {
    "text_in": "text_embedding.0",
    "text_out": "text_embedding.2",
    "time_in": "time_embedding.0",
    "time_out": "time_embedding.2",
    "time_projection": "time_projection.1",
    "head": "head.head",
    "head_modulation": "head.modulation",
    "ffn_in": "ffn.0",
    "ffn_out": "ffn.2",
}
STACKED = {"blocks", "audio_cond_projs"}


def reference_name(path: tuple[str, ...], index: int | None = None) -> str:
    """State-dict key of one of our parameters; `index` picks the layer of a stacked one."""
    parts = [RENAMED.get(p, p) for p in path]
    if parts[-1] == "kernel" or parts[-1] == "scale":
        parts[-1] = "weight"
    if index is not None:
        parts.insert(1, str(index))
    return ".".join(parts)


def to_ours(path: tuple[str, ...], value: np.ndarray, cfg: DiTConfig) -> np.ndarray:
    """One reference tensor in our layout."""
    if path[0] == "patch_embedding" and path[-1] == "kernel":
        return value[:, :, 0].transpose(2, 3, 1, 0).reshape(-1, cfg.dim)
    if path[-1] == "kernel":
        return value.T
    return value[0] if path[-1] in ("modulation", "head_modulation") else value


def to_reference(path: tuple[str, ...], value: np.ndarray, cfg: DiTConfig) -> np.ndarray:
    """The inverse of `to_ours`."""
    if path[0] == "patch_embedding" and path[-1] == "kernel":
        _, ph, pw = cfg.patch
        return value.reshape(ph, pw, cfg.in_dim, cfg.dim).transpose(3, 2, 0, 1)[:, :, None]
    if path[-1] == "kernel":
        return value.T
    return value[None] if path[-1] in ("modulation", "head_modulation") else value


def abstract_state(cfg: DiTConfig) -> Mapping[tuple[str, ...], nnx.Param]:
    """Flat map from our parameter paths to shapes."""
    return abstract_parameters(DiT, cfg)


def manifest(cfg: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    shapes = {}
    for path, leaf in abstract_state(cfg).items():
        stacked = path[0] in STACKED
        one = np.broadcast_to(np.float32(0), leaf.shape[1:] if stacked else leaf.shape)
        for index in range(leaf.shape[0]) if stacked else [None]:
            shapes[reference_name(path, index)] = to_reference(path, one, cfg).shape
    return shapes


def from_reference(get: Callable[[str], np.ndarray], cfg: DiTConfig, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    `get` raises for a missing key; shapes are checked against the configuration.
    """
    flat = {}
    for path, leaf in abstract_state(cfg).items():
        if path[0] in STACKED:
            layers = [to_ours(path, get(reference_name(path, i)), cfg) for i in range(leaf.shape[0])]
            value = np.stack([np.asarray(layer, dtype) for layer in layers])
        else:
            value = np.asarray(to_ours(path, get(reference_name(path)), cfg), dtype)
        if value.shape != leaf.shape:
            raise ValueError(f"{reference_name(path)} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: DiTConfig) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(state):
        value = np.asarray(leaf[...])
        if path[0] in STACKED:
            for index in range(value.shape[0]):
                tensors[reference_name(path, index)] = to_reference(path, value[index], cfg)
        else:
            tensors[reference_name(path)] = to_reference(path, value, cfg)
    return tensors
