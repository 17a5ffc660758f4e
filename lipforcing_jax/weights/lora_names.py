"""Low-rank pairs under the names of adapter files and of PEFT-injected models (spec network 5.2).

Per block ten linear layers carry a pair: q, k, v, o of both attentions and both layers of the feed-forward. A is
[rank, in] and B [out, rank] there; here both are right-multiplying and stacked over the blocks.
"""

from collections.abc import Callable

import numpy as np
from flax import nnx

from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.weights.dit_names import reference_name

STYLES = {"adapter": ".weight", "injected": ".default.weight"}
"""How the names of both matrices end."""


def pair_name(path: tuple[str, ...], index: int, style: str = "adapter") -> str:
    """State-dict key of one of our `lora_a` or `lora_b` at block `index`."""
    return reference_name(path, index).removesuffix(STYLES["adapter"]) + STYLES[style]


def adapter_name(name: str) -> str:
    """The adapter file's spelling of a pair's key in either style."""
    return name.replace(".default.weight", ".weight") if ".lora_" in name else name


def injected_name(name: str) -> str:
    """The injected model's spelling of a pair's key as adapter files spell it; other keys stay."""
    return name.removesuffix(STYLES["adapter"]) + STYLES["injected"] if ".lora_" in name else name


def abstract_pairs(cfg: DiTConfig, lora: LoRAConfig) -> dict[tuple[str, ...], object]:
    """Flat map from our paths of the pairs to shapes, without allocating anything."""
    model = nnx.eval_shape(lambda: DiT(cfg, lora=lora, rngs=nnx.Rngs(0)))
    return dict(nnx.to_flat_state(nnx.state(model, nnx.LoRAParam)))


def manifest(cfg: DiTConfig, lora: LoRAConfig, style: str = "adapter") -> dict[str, tuple[int, ...]]:
    """Every key of the pairs with its shape in the reference."""
    return {
        pair_name(path, index, style): leaf.shape[:0:-1]
        for path, leaf in abstract_pairs(cfg, lora).items()
        for index in range(leaf.shape[0])
    }


def from_reference(get: Callable[[str], np.ndarray], cfg: DiTConfig, lora: LoRAConfig, dtype=np.float32) -> nnx.State:
    """The pairs from `get(adapter key)`, one tensor at a time.

    Raises:
      ValueError: a tensor's shape is not the network's. `get` raises for a missing key.
    """
    flat = {}
    for path, leaf in abstract_pairs(cfg, lora).items():
        names = [pair_name(path, i) for i in range(leaf.shape[0])]
        value = np.stack([np.asarray(get(name), dtype).T for name in names])
        if value.shape != leaf.shape:
            raise ValueError(f"{names[0]} gives shape {value.shape[:0:-1]}, the network needs {leaf.shape[:0:-1]}")
        flat[path] = leaf.replace(value)
    return nnx.from_flat_state(flat)


def export(pairs: nnx.State, style: str = "adapter") -> dict[str, np.ndarray]:
    """The flat state dict of the pairs."""
    return {
        pair_name(path, index, style): np.asarray(leaf[...])[index].T
        for path, leaf in nnx.to_flat_state(pairs)
        for index in range(leaf.shape[0])
    }
