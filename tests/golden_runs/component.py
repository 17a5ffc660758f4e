"""One component of a folder in the format of tests/goldens/components: `<name>.json` and `<name>.npz`."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

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

    def normal(self, facts: dict) -> np.ndarray:
        """Normals of an input entry with `key` and `shape`, float64."""
        return recipe.normal(facts["key"], facts["shape"])


Run = Callable[[Component], Checks]
