"""The diffusion network's arrays, stacked over its blocks, as the reference's tensors: one of each per block.

Both ways work on any of its parameters (`dit_names.Abstract`), a tensor at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.weights import dit_names, piecewise
from lipforcing_jax.weights.dit_names import Abstract
from lipforcing_jax.weights.piecewise import Leaf
from lipforcing_jax.weights.source import Source

Shapes = dict[str, tuple[tuple[int, ...], np.dtype]]
Get = Callable[[str], np.ndarray]


def leaves(found: Source, abstract: Abstract, cfg: DiTConfig) -> dict[tuple[str, ...], Leaf]:
    """Arrays to be written, whose blocks are read one by one from a checkpoint."""

    def leaf(path, shape, indices) -> Leaf:
        names = {i: dit_names.reference_name(path, i) for i in indices}
        kinds = {found.dtype(name) for name in names.values()}
        kind = np.result_type(*kinds) if len(kinds) > 1 else kinds.pop()
        read = lambda i: np.asarray(dit_names.to_ours(path, found.read(names[i]), cfg), kind)  # noqa: E731
        return Leaf(shape, kind, read, path[0] in dit_names.STACKED)

    return {path: leaf(path, a.shape, dit_names.indices(path, a)) for path, a in abstract.items()}


def tensors(folder: Path, abstract: Abstract, cfg: DiTConfig) -> tuple[Shapes, Get]:
    """Shapes of the tensors of arrays that `piecewise.write` wrote, and how to read one."""
    places = {
        dit_names.reference_name(path, index): (path, index)
        for path, leaf in abstract.items()
        for index in dit_names.indices(path, leaf)
    }
    stores = {path: piecewise.open_leaf(folder, path) for path in abstract}

    def get(name: str) -> np.ndarray:
        path, index = places[name]
        store = stores[path] if index is None else stores[path][index]
        return dit_names.to_reference(path, store.read().result(), cfg)

    shapes = dit_names.manifest_of(abstract, cfg)
    return {name: (shapes[name], stores[places[name][0]].dtype.numpy_dtype) for name in shapes}, get


def source(folder: Path, abstract: Abstract, cfg: DiTConfig) -> Source:
    """The same as a checkpoint."""
    shapes, get = tensors(folder, abstract, cfg)
    return Source({name: Stored(*facts, partial(get, name)) for name, facts in shapes.items()}, [folder])


@dataclass(frozen=True)
class Stored:
    """A tensor that is read whenever NumPy makes an array of it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    get: Callable[[], np.ndarray]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.get(), dtype)
