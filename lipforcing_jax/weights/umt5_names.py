"""The text encoder's parameters under the names and shapes of the Wan encoder file (spec inference 4).

The file of transformers' `UMT5EncoderModel`, or of the whole T5 model, holds the same tensors under other names.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import Layer, UMT5Encoder

IN_LAYER = {
    "q": "attn.q", "k": "attn.k", "v": "attn.v", "o": "attn.o", "position": "pos_embedding.embedding",
    "gate": "ffn.gate.0", "fc1": "ffn.fc1", "fc2": "ffn.fc2",
}  # fmt: skip
OUTSIDE = {"embedding": "token_embedding", "norm": "norm"}
TRANSFORMERS = {
    "layer.0.layer_norm": "norm1",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.0.SelfAttention": "attn",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}
IGNORED = ("decoder.", "lm_head.")
"""Parts of a whole T5 model that follow the encoder."""


def native_name(name: str) -> str:
    """The Wan file's key of a transformers key; other keys stay as they are."""
    if name in ("shared.weight", "encoder.embed_tokens.weight"):
        return "token_embedding.weight"
    if name == "encoder.final_layer_norm.weight":
        return "norm.weight"
    layer = re.fullmatch(r"encoder\.block\.(\d+)\.(.*)", name)
    if layer:
        for theirs, native in TRANSFORMERS.items():
            if layer[2].startswith(theirs + "."):
                return f"blocks.{layer[1]}.{native}{layer[2].removeprefix(theirs)}"
    return name


def reference_name(path: tuple, index: int | None = None) -> str:
    """State-dict key of one of our parameters; `index` picks the layer."""
    if path[0] == "layers":
        return f"blocks.{index}.{IN_LAYER.get(path[1], path[1])}.weight"
    return f"{OUTSIDE[path[0]]}.weight"


def transposed(path: tuple, value: np.ndarray) -> np.ndarray:
    """A reference tensor in our layout, or the other way round."""
    return value.T if path[-1] == "kernel" else value


def config(shapes: Mapping[str, tuple[int, ...]]) -> UMT5Config:
    """Sizes of the encoder with these keys and shapes.

    Raises:
      KeyError: a tensor that a size follows from is missing.
    """
    vocab, dim = shapes["token_embedding.weight"]
    num_buckets, heads = shapes["blocks.0.pos_embedding.embedding.weight"]
    inner, ffn_dim = shapes["blocks.0.attn.q.weight"][0], shapes["blocks.0.ffn.fc1.weight"][0]
    layers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    return UMT5Config(vocab, dim, ffn_dim, heads, inner // heads, len(layers), num_buckets)


def _shapes(make: Callable[[], nnx.Module]) -> dict[tuple, object]:
    return dict(nnx.to_flat_state(nnx.state(nnx.eval_shape(make), nnx.Param)))


def manifest(cfg: UMT5Config) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    found = {}
    for path, leaf in _shapes(lambda: UMT5Encoder(cfg, rngs=nnx.Rngs(0))).items():
        stacked = path[0] == "layers"
        one = np.broadcast_to(np.float32(0), leaf.shape[1:] if stacked else leaf.shape)
        for index in range(cfg.num_layers) if stacked else [None]:
            found[reference_name(path, index)] = transposed(path, one).shape
    return found


def layer_from_reference(get: Callable[[str], np.ndarray], cfg: UMT5Config, index: int, place=np.asarray) -> nnx.State:
    """One layer's parameter pytree; `place(value)` takes each tensor in turn to where it is needed.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    flat = {}
    for path, leaf in _shapes(lambda: Layer(cfg, rngs=nnx.Rngs(0))).items():
        name = reference_name(("layers", *path), index)
        value = place(_fitting(transposed(path, get(name)), leaf, name))
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def from_reference(get: Callable[[str], np.ndarray], cfg: UMT5Config, dtype=np.float32) -> nnx.State:
    """Builds the whole parameter pytree from `get(key)`, one tensor at a time.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    flat = {}
    for path, leaf in _shapes(lambda: UMT5Encoder(cfg, rngs=nnx.Rngs(0))).items():
        stacked = path[0] == "layers"
        names = [reference_name(path, i) for i in (range(cfg.num_layers) if stacked else [None])]
        parts = [np.asarray(transposed(path, get(name)), dtype) for name in names]
        value = np.stack(parts) if stacked else parts[0]
        flat[path] = leaf.replace(_fitting(value, leaf, names[0]))
    return nnx.from_flat_state(flat)


def _fitting(value: np.ndarray, leaf, name: str) -> np.ndarray:
    if value.shape != leaf.shape:
        raise ValueError(f"{name} gives shape {value.shape}, the network needs {leaf.shape}")
    return value


def export(state: nnx.State, cfg: UMT5Config) -> dict[str, np.ndarray]:
    """The Wan file's flat state dict of our parameters."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(state):
        value = np.asarray(leaf[...])
        for index in range(cfg.num_layers) if path[0] == "layers" else [None]:
            part = value if index is None else value[index]
            tensors[reference_name(path, index)] = transposed(path, part)
    return tensors
