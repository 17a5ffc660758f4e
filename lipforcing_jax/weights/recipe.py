"""Weights that follow from their names: what reference numbers, parity runs and sample checkpoints are made of.

Every value comes from a generator whose seed is the CRC-32 of a key, so any framework can draw the same ones without
a file. Two sets of rules exist: the diffusion network's and that of the components around it.
"""

import zlib
from collections.abc import Sequence

import numpy as np


def normal(key: str, shape: Sequence[int]) -> np.ndarray:
    """Standard normals [shape], float64, that follow from `key`."""
    return generator(key).standard_normal(shape)


def generator(key: str) -> np.random.Generator:
    """The generator that `key` seeds."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))


def diffusion_weight(name: str, shape: Sequence[int], tag: str = "") -> np.ndarray:
    """Parameter `name` of the diffusion network, float64; `tag` tells apart networks of the same names."""
    drawn, parts = normal(tag + name, shape), name.split(".")
    if name.endswith(".bias"):
        return 0.02 * drawn
    if name.endswith("modulation"):
        return 0.05 * drawn
    if len(parts) > 1 and "norm" in parts[-2]:
        return 1 + 0.1 * drawn
    if ".lora_B." in name:
        return 0.02 * drawn
    return drawn / np.sqrt(np.prod(shape[1:]))


def component_weight(name: str, shape: Sequence[int], prefix: str = "") -> np.ndarray:
    """Parameter `name` of a component (autoencoders, SyncNet, wav2vec2, UMT5), float32."""
    drawn, last = normal(prefix + name, shape), name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        value = np.zeros(shape)
    elif last == "running_mean":
        value = 0.1 * drawn
    elif last == "running_var":
        value = 1 + 0.1 * np.abs(drawn)
    elif last == "bias":
        value = 0.02 * drawn
    elif last in ("gamma", "weight_g") or (last == "weight" and len(shape) == 1):
        value = 1 + 0.1 * drawn
    else:
        value = drawn / np.sqrt(np.prod(shape[1:]))
    return np.asarray(value, np.float32)
