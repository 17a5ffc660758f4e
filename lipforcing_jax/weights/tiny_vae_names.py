"""The tiny autoencoder's parameters under the names and shapes of TAEHV's state dict (spec inference 6.7).

TAEHV is two flat lists of layers; activations, the clamp and the upsamplings take numbers too. Convolutions are
[out, in, row, column] there and [row, column, in, out] here. The layout without patches is meant (`taew2_1`).
"""

from collections.abc import Callable

import numpy as np
from flax import nnx

from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.weights.abstract import abstract_parameters

CONVS_OF_BLOCK = {"conv1": "conv.0", "conv2": "conv.2", "conv3": "conv.4"}


def layer_numbers(cfg: TinyVAEConfig) -> dict[tuple, str]:
    """TAEHV's name of every layer, by our path to it."""
    names: dict[tuple, str] = {("encoder", "stem"): "encoder.0"}
    number = 2  # after the stem and its rectifier
    for i in range(len(cfg.encoder_widths)):
        names["encoder", "pools", i, "conv"] = f"encoder.{number}.conv"
        names["encoder", "downs", i] = f"encoder.{number + 1}"
        for k in range(cfg.encoder_blocks):
            names["encoder", "stages", i, k] = f"encoder.{number + 2 + k}"
        number += 2 + cfg.encoder_blocks
    names["encoder", "head"] = f"encoder.{number}"
    names["decoder", "stem"] = "decoder.1"
    number = 3  # after the clamp, the stem and its rectifier
    for i in range(len(cfg.decoder_widths)):
        for k in range(cfg.decoder_blocks):
            names["decoder", "stages", i, k] = f"decoder.{number + k}"
        number += cfg.decoder_blocks + 1  # one for the upsampling, which is there even where it does nothing
        names["decoder", "grows", i, "conv"] = f"decoder.{number}.conv"
        names["decoder", "outs", i] = f"decoder.{number + 1}"
        number += 2
    names["decoder", "head"] = f"decoder.{number + 1}"  # after one more rectifier
    return names


def reference_name(path: tuple, layers: dict[tuple, str]) -> str:
    """State-dict key of one of our parameters."""
    *layer, leaf = path
    leaf = "weight" if leaf == "kernel" else leaf
    if layer[-1] in CONVS_OF_BLOCK:
        return f"{layers[tuple(layer[:-1])]}.{CONVS_OF_BLOCK[layer[-1]]}.{leaf}"
    return f"{layers[tuple(layer)]}.{leaf}"


def to_reference(value: np.ndarray) -> np.ndarray:
    """One of our parameters in TAEHV's layout."""
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def manifest(cfg: TinyVAEConfig) -> dict[str, tuple[int, ...]]:
    """Every reference key with its shape."""
    layers = layer_numbers(cfg)
    return {
        reference_name(path, layers): to_reference(np.broadcast_to(np.float32(0), leaf.shape)).shape
        for path, leaf in abstract_parameters(TinyVAE, cfg).items()
    }


def from_reference(get: Callable[[str], np.ndarray], cfg: TinyVAEConfig, dtype=np.float32) -> nnx.State:
    """Builds the parameter pytree from `get(key)`, one tensor at a time.

    A TimeGrow stored for more frames than this layout makes keeps its last ones, as TAEHV does when it loads.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    layers = layer_numbers(cfg)
    flat = {}
    for path, leaf in abstract_parameters(TinyVAE, cfg).items():
        name = reference_name(path, layers)
        value = np.asarray(get(name), dtype)
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
            if "grows" in path:
                value = value[..., -leaf.shape[-1] :]
        if value.shape != leaf.shape:
            raise ValueError(f"{name} gives shape {value.shape}, the network needs {leaf.shape}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(state: nnx.State, cfg: TinyVAEConfig) -> dict[str, np.ndarray]:
    """The reference's flat state dict of our parameters."""
    layers = layer_numbers(cfg)
    return {
        reference_name(path, layers): to_reference(np.asarray(leaf[...])) for path, leaf in nnx.to_flat_state(state)
    }
