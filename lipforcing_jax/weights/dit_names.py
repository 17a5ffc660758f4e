"""The DiT's parameters under the names and shapes of the reference's state dict (spec network 1.2).

`Linear.weight` is [out, in] there and a right-multiplying kernel [in, out] here; the patch convolution becomes a
linear layer over (row, column, channel) patches; blocks and audio projections are stacked on a leading axis. Low-rank
pairs are named as in adapter files; A is [rank, in] and B [out, rank] there.
"""

from collections.abc import Callable, Iterable, Mapping

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
    "lora_a": "lora_A.weight",
    "lora_b": "lora_B.weight",
}
STACKED = {"blocks", "audio_cond_projs"}
TRANSPOSED = {"kernel", "lora_a", "lora_b"}

Abstract = Mapping[tuple[str, ...], nnx.Variable]
"""Flat map from our parameter paths to shapes."""


def reference_name(path: tuple[str, ...], index: int | None = None) -> str:
    """State-dict key of one of our parameters; `index` picks the layer of a stacked one."""
    parts = [RENAMED.get(p, p) for p in path]
    if parts[-1] == "kernel" or parts[-1] == "scale":
        parts[-1] = "weight"
    if index is not None:
        parts.insert(1, str(index))
    return ".".join(parts)


def indices(path: tuple[str, ...], leaf) -> Iterable[int | None]:
    """Layers of a stacked parameter, each a tensor of its own in the reference; [None] for any other."""
    return range(leaf.shape[0]) if path[0] in STACKED else [None]


def to_ours(path: tuple[str, ...], value: np.ndarray, cfg: DiTConfig) -> np.ndarray:
    """One reference tensor in our layout."""
    if path[0] == "patch_embedding" and path[-1] == "kernel":
        return value[:, :, 0].transpose(2, 3, 1, 0).reshape(-1, cfg.dim)
    if path[-1] in TRANSPOSED:
        return value.T
    return value[0] if path[-1] in ("modulation", "head_modulation") else value


def to_reference(path: tuple[str, ...], value: np.ndarray, cfg: DiTConfig) -> np.ndarray:
    """The inverse of `to_ours`."""
    if path[0] == "patch_embedding" and path[-1] == "kernel":
        _, ph, pw = cfg.patch
        return value.reshape(ph, pw, cfg.in_dim, cfg.dim).transpose(3, 2, 0, 1)[:, :, None]
    if path[-1] in TRANSPOSED:
        return value.T
    return value[None] if path[-1] in ("modulation", "head_modulation") else value


def abstract_state(cfg: DiTConfig) -> Abstract:
    """All parameters of a network without pairs."""
    return abstract_parameters(DiT, cfg)


def manifest(cfg: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    return manifest_of(abstract_state(cfg), cfg)


def manifest_of(abstract: Abstract, cfg: DiTConfig) -> dict[str, tuple[int, ...]]:
    """The same of any parameters of a network."""
    shapes = {}
    for path, leaf in abstract.items():
        one = np.broadcast_to(np.float32(0), leaf.shape[1:] if path[0] in STACKED else leaf.shape)
        shapes |= {reference_name(path, i): to_reference(path, one, cfg).shape for i in indices(path, leaf)}
    return shapes


def from_reference(get: Callable[[str], np.ndarray], cfg: DiTConfig, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    `get` raises for a missing key; shapes are checked against the configuration.
    """
    return state_of(get, abstract_state(cfg), cfg, dtype)


def state_of(get: Callable[[str], np.ndarray], abstract: Abstract, cfg: DiTConfig, dtype=np.float32) -> nnx.State:
    """The same of any parameters of a network."""
    flat = {}
    for path, leaf in abstract.items():
        layers = [np.asarray(to_ours(path, get(reference_name(path, i)), cfg), dtype) for i in indices(path, leaf)]
        value = np.stack(layers) if path[0] in STACKED else layers[0]
        if value.shape != leaf.shape:
            raise ValueError(f"{reference_name(path)} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: DiTConfig) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(state):
        value = np.asarray(leaf[...])
        for index in indices(path, value):
            tensors[reference_name(path, index)] = to_reference(path, value if index is None else value[index], cfg)
    return tensors
