"""A student from its parts: the base Wan network, the sound adapter, and what distillation changed (spec network 5.3).

Adapter and delta hold two kinds of tensors. Plain ones stand in the place of the base's. Low-rank pairs are added to
the base's matrices; those of the delta replace the adapter's, because both are differences from the base. The merge
rounds where the reference rounds: factors, product and sum each to the parameters' precision.
"""

from dataclasses import dataclass, replace
from itertools import chain

import ml_dtypes
import numpy as np

from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.weights import dit_names, lora_names, sizes
from lipforcing_jax.weights.mapping import release
from lipforcing_jax.weights.source import Source, check

A, B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Assembled(Source):
    """Tensors that are merged when they are read. Those without a pair are the stored ones in another precision."""

    pairs: dict[str, tuple[np.ndarray, np.ndarray]]
    scale: float
    precision: np.dtype

    def dtype(self, name: str) -> np.dtype:
        return self.precision

    def read(self, name: str) -> np.ndarray:
        stored = self.tensors[name]
        value = np.array(stored, self.precision)
        release(stored)
        return merged(value, *self.pairs[name], self.scale) if name in self.pairs else value

    def apart(self) -> tuple[Source, Source]:
        """The same without the pairs, and the pairs beside all other tensors as they are stored."""
        modules = {name.removesuffix(".weight"): pair for name, pair in self.pairs.items()}
        factors = {m + A: a for m, (a, _) in modules.items()} | {m + B: b for m, (_, b) in modules.items()}
        return replace(self, pairs={}), Source(self.tensors | factors, self.files)

    @property
    def rank(self) -> int:
        """Of every pair."""
        return next(iter(self.pairs.values()))[0].shape[0]


def merged(weight: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """W + scale B A for W [out, in], A [rank, in], B [out, rank], in W's precision after every operation.

    `models.lora.merged` rounds once, at the end; the reference's files are made as here.
    """
    a, b = (np.asarray(np.asarray(factor, weight.dtype), np.float32) for factor in (a, b))
    delta = np.asarray(b @ a, weight.dtype)
    delta = np.asarray(np.float32(scale) * delta.astype(np.float32), weight.dtype)
    return np.asarray(weight.astype(np.float32) + delta.astype(np.float32), weight.dtype)


def assemble(
    base: Source,
    adapter: Source,
    delta: Source | None = None,
    num_heads: int | None = None,
    lora: LoRAConfig | None = None,
    precision: np.dtype = ml_dtypes.bfloat16,
) -> tuple[Assembled, DiTConfig]:
    """The student's tensors under the reference's names, and its sizes.

    Args:
      base, adapter, delta: under the reference's names; pairs in either spelling.
      lora: gives the scale of the pairs, whatever the rank of the stored ones.
      precision: of the student's parameters.

    Raises:
      UserError: tensors are missing, unexpected or mis-shaped.
    """
    tensors, _ = split(base)
    # The base sees fewer channels than the student; the adapter brings its own.
    tensors.pop("patch_embedding.weight", None)
    added, pairs = split(adapter)
    trained, new_pairs = split(delta) if delta else ({}, {})
    tensors |= added | trained
    if "patch_embedding.weight" in tensors and (channels := _input_channels(tensors)):
        tensors["patch_embedding.weight"] = widened(tensors["patch_embedding.weight"], channels)
    cfg = sizes.dit(Source(tensors, adapter.files), num_heads)
    what = "with its adapter and delta" if delta else "with its adapter"
    check(Source(tensors, base.files), dit_names.manifest(cfg), f"{what} a Wan student with sound")
    if new_pairs:
        pairs = checked_pairs(Source(new_pairs, delta.files), cfg)
    else:
        # A layer that was trained as a whole already contains the adapter's pair.
        pairs = {w: pair for w, pair in checked_pairs(Source(pairs, adapter.files), cfg).items() if w not in trained}
    files = list(chain(base.files, adapter.files, delta.files if delta else []))
    return Assembled(tensors, files, pairs, (lora or LoRAConfig()).scale, np.dtype(precision)), cfg


def split(source: Source) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Plain tensors and factors of pairs, both under the names of adapter files."""
    plain, factors = {}, {}
    for name, value in source.tensors.items():
        bare = lora_names.adapter_name(name).replace(".base_layer.", ".")
        (factors if ".lora_" in bare else plain)[bare] = value
    return plain, factors


def _input_channels(tensors: dict[str, np.ndarray]) -> int | None:
    """Of a network with so many latent channels; None where the tensors are none of such a network."""
    weight, head = tensors["patch_embedding.weight"], tensors.get("head.head.weight")
    if weight.ndim != 5 or head is None or head.ndim != 2:
        return None  # Refused in a moment, by the check of all tensors.
    return 4 * (head.shape[0] // int(np.prod(weight.shape[2:]))) + 1


def widened(weight: np.ndarray, channels: int) -> np.ndarray:
    """The patch embedding for all input channels; the channels that an older layout does not have are zeros."""
    if weight.ndim != 5 or weight.shape[1] >= channels:
        return weight
    return np.pad(weight, ((0, 0), (0, channels - weight.shape[1]), (0, 0), (0, 0), (0, 0)))


def checked_pairs(factors: Source, cfg: DiTConfig) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A and B by the name of the matrix that they belong to; all pairs of all blocks, of one rank.

    Raises:
      UserError: some are missing, unexpected or mis-shaped.
    """
    rank = next((a.shape[0] for name, a in factors.tensors.items() if name.endswith(A) and a.ndim == 2), 1)
    check(factors, lora_names.manifest(cfg, LoRAConfig(rank=rank)), "a whole set of low-rank pairs")
    modules = [name.removesuffix(A) for name in factors.tensors if name.endswith(A)]
    return {f"{m}.weight": (factors.tensors[m + A], factors.tensors[m + B]) for m in modules}
