"""What stage 1 and stage 2 train, alone in a file: the reference's trainable-only checkpoint (spec training 2.10).

Low-rank pairs, sound layers and patch embedding of one network, in float32. Whatever the reference calls them is read:
the sound adapter, which both stages start from, and checkpoints of either stage.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from flax import nnx

from lipforcing_jax.distill.base import LOW_RANK
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.weights import dit_names, lora_names, safetensors_file, torch_writer
from lipforcing_jax.weights.assemble import split, widened
from lipforcing_jax.weights.dit_names import Abstract
from lipforcing_jax.weights.source import Source, check, open_source
from lipforcing_jax.whole_file import written_whole

PREFIX, WRAPPERS = "_core.", ("model", "net")
"""How the reference's trainer puts a student into its file."""


@cache
def abstract_state(cfg: DiTConfig, lora: LoRAConfig) -> Abstract:
    """The trained part of a network, without allocating anything."""
    model = nnx.eval_shape(lambda: DiT(cfg, lora=lora, rngs=nnx.Rngs(0)))
    return MappingProxyType(dict(nnx.to_flat_state(nnx.state(model, LOW_RANK))))


def abstract_frozen(cfg: DiTConfig) -> Abstract:
    """The rest of it."""
    trained = abstract_state(cfg, LoRAConfig())
    return {path: leaf for path, leaf in dit_names.abstract_state(cfg).items() if path not in trained}


def read(path: Path, cfg: DiTConfig, lora: LoRAConfig, dtype=np.float32) -> nnx.State:
    """A trained part, by the names of any of the files that hold one.

    Raises:
      UserError: the file is missing or damaged, or holds anything else than the trained part of this network at this
        rank.
    """
    found = open_source(path)
    plain, factors = split(found)
    if "patch_embedding.weight" in plain:
        plain["patch_embedding.weight"] = widened(plain["patch_embedding.weight"], cfg.in_dim)
    abstract = abstract_state(cfg, lora)
    found = Source(plain | factors, found.files)
    check(found, dit_names.manifest_of(abstract, cfg), f"the trained part of this network at rank {lora.rank}")
    return dit_names.state_of(found.read, abstract, cfg, dtype)


def write(path: Path, trained: nnx.State, cfg: DiTConfig) -> Path:
    """Writes a trained part in its own precision; the file appears whole or not at all.

    Args:
      path: `.safetensors`, or `.pth` for the container that the reference's trainer writes and reads.
    """
    tensors = reference_tensors(trained, cfg)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as growing:
        if path.suffix == ".safetensors":
            safetensors_file.write(growing, _described(tensors), tensors.__getitem__)
        else:
            tensors = {PREFIX + name: value for name, value in tensors.items()}
            torch_writer.write(growing, _described(tensors), tensors.__getitem__, WRAPPERS)
    return path


def reference_tensors(trained: nnx.State, cfg: DiTConfig) -> dict[str, np.ndarray]:
    """A trained part as the state dict of a network with injected pairs."""
    return {lora_names.injected_name(name): value for name, value in dit_names.export(trained, cfg).items()}


def _described(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}
