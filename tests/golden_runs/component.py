"""One component of a folder in the format of tests/goldens/components: `<name>.json` and `<name>.npz`."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lipforcing_jax.weights import recipe

Checks = Iterator[tuple[str, np.ndarray, np.ndarray, float]]
"""Yields (name, our value, reference value, absolute tolerance); 0 means exactly equal."""


@dataclass(frozen=True)
class Component:
    """A component's facts, arrays, weights and inputs, all by the file."""

    folder: Path
    name: str

    @property
    def id(self) -> str:
        return f"{self.folder.name}-{self.name}"

    @cached_property
    def facts(self) -> dict:
        return json.loads((self.folder / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{self.name}.npz", allow_pickle=False) as stored:
            return dict(stored)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the reference's parameters."""
        return {name: tuple(shape) for name, shape, *_ in self.facts["parameters"]}

    def weight(self, name: str) -> np.ndarray:
        """The reference parameter `name`, checked against the file's sum and first value."""
        value = recipe.component_weight(name, self.shapes[name], self.facts["weight_key_prefix"])
        kept = {row[0]: row[3:] for row in self.facts["parameters"]}[name]
        np.testing.assert_allclose([value.astype(np.float64).sum(), value.flat[0]], kept, rtol=1e-6, atol=1e-6)
        return value

    def part(self, array: str) -> slice:
        """The `[start::step]` of the rows or columns that are stored of an array, as its note says."""
        start, step = re.search(r"\[(\d*)::(\d+)", self.facts["array_notes"][array]).groups()
        return slice(int(start or 0), None, int(step))

    def build(self, module: type[nnx.Module], cfg, names: ModuleType, get=None) -> nnx.Module:
        """The network on the recipe's weights, or on those of `get`; names and shapes must be those of the file."""
        expected = {n: s for n, s in self.shapes.items() if n not in getattr(names, "IGNORED", ())}
        assert names.manifest(cfg) == expected
        state = jax.tree.map(jnp.asarray, names.from_reference(get or self.weight, cfg))
        return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: module(cfg, rngs=nnx.Rngs(0)))), state)

    def normal(self, facts: dict) -> np.ndarray:
        """Normals of an input entry with `key` and `shape`, float64."""
        return recipe.normal(facts["key"], facts["shape"])


def moments(x) -> list[float]:
    """Mean, spread and extremes, as the files state them."""
    x = np.asarray(x, np.float64)
    return [x.mean(), x.std(), x.min(), x.max()]


def stated(facts: dict) -> list[float]:
    """The same of an entry of statistics."""
    return [facts[name] for name in ("mean", "std", "min", "max")]


Run = Callable[[Component], Checks]
