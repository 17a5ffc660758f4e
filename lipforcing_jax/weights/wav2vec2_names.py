"""wav2vec2's parameters under the names and shapes of its published checkpoints (spec inference 3).

Names may begin with `wav2vec2.`, and the positional convolution's two tensors have an old and a new spelling. Heads
for transcription and the mask embedding of pre-training belong to no part of this network and are passed over.
"""

from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.weights.abstract import abstract_parameters

IGNORED = ("masked_spec_embed", "lm_head.", "quantizer.", "project_q.", "project_hid.")
SPELLINGS = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
RENAMED = {
    "group_scale": "feature_extractor.conv_layers.0.layer_norm.weight",
    "group_bias": "feature_extractor.conv_layers.0.layer_norm.bias",
    "feature_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "position": "encoder.pos_conv_embed.conv",
    "encoder_norm": "encoder.layer_norm",
}
IN_LAYER = {
    "q_proj": "attention.q_proj",
    "k_proj": "attention.k_proj",
    "v_proj": "attention.v_proj",
    "out_proj": "attention.out_proj",
    "intermediate_dense": "feed_forward.intermediate_dense",
    "output_dense": "feed_forward.output_dense",
}


def bare_name(name: str) -> str:
    """A published key in the spelling used here."""
    name = name.removeprefix("wav2vec2.")
    for new, old in SPELLINGS.items():
        name = name.replace(new, old)
    return name


def reference_name(path: tuple, index: int | None = None) -> str:
    """State-dict key of one of our parameters; `index` picks the transformer layer."""
    leaf = "weight" if path[-1] in ("kernel", "scale") else path[-1]
    if path[0] == "convs":
        return f"feature_extractor.conv_layers.{path[1]}.conv.{leaf}"
    if path[0] == "layers":
        return f"encoder.layers.{index}.{IN_LAYER.get(path[1], path[1])}.{leaf}"
    return RENAMED[path[0]] if len(path) == 1 else f"{RENAMED[path[0]]}.{leaf}"


def to_ours(path: tuple, value: np.ndarray) -> np.ndarray:
    """One reference tensor in our layout."""
    if path[-1] == "weight_g":
        return value.reshape(-1)
    return value.T if path[-1] in ("kernel", "weight_v") else value


def to_reference(path: tuple, value: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    if path[-1] == "weight_g":
        return value.reshape(1, 1, -1)
    return value.T if path[-1] in ("kernel", "weight_v") else value


def abstract_state(cfg: Wav2Vec2Config) -> Mapping[tuple, nnx.Param]:
    """Flat map from our parameter paths to shapes."""
    return abstract_parameters(Wav2Vec2, cfg)


def manifest(cfg: Wav2Vec2Config) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    shapes = {}
    for path, leaf in abstract_state(cfg).items():
        stacked = path[0] == "layers"
        one = np.broadcast_to(np.float32(0), leaf.shape[1:] if stacked else leaf.shape)
        for index in range(leaf.shape[0]) if stacked else [None]:
            shapes[reference_name(path, index)] = to_reference(path, one).shape
    return shapes


def from_reference(get: Callable[[str], np.ndarray], cfg: Wav2Vec2Config, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    flat = {}
    for path, leaf in abstract_state(cfg).items():
        indices = range(leaf.shape[0]) if path[0] == "layers" else [None]
        names = [reference_name(path, i) for i in indices]
        parts = [np.asarray(to_ours(path, get(name)), dtype) for name in names]
        value = np.stack(parts) if path[0] == "layers" else parts[0]
        if value.shape != leaf.shape:
            raise ValueError(f"{names[0]} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: Wav2Vec2Config) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(state):
        value = np.asarray(leaf[...])
        for index in range(value.shape[0]) if path[0] == "layers" else [None]:
            part = value if index is None else value[index]
            tensors[reference_name(path, index)] = to_reference(path, part)
    return tensors
