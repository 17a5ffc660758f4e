"""Reads folders of reference numbers: sizes, inputs, cases (see config.json), components."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from golden_runs.component import Component

from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.weights.recipe import normal


@dataclass(frozen=True)
class Goldens:
    """One folder: its configuration and the inputs that every case draws from."""

    folder: Path

    @cached_property
    def config(self) -> dict:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def dit(self) -> DiTConfig:
        n = self.config["network"]
        return DiTConfig(
            dim=n["dim"], num_heads=n["num_heads"], ffn_dim=n["ffn_dim"], num_layers=n["num_layers"],
            text_dim=n["text_dim"], text_len=n["text_len"], audio_dim=n["audio_dim"],
            audio_hidden=n["audio_hidden"], latent_channels=n["latent_channels"], in_dim=n["in_dim"],
            patch=tuple(n["patch"]),
        )  # fmt: skip

    def input(self, name: str, batch: int | None = None) -> np.ndarray:
        """The named input for the given batch size; video tensors channels-last [b, t, h, w, c]."""
        shapes = [tuple(s) for s in self.config["inputs"][name]]
        shape = shapes[0] if batch is None else next(s for s in shapes if s[0] == batch)
        value = normal(self.config["input_prefix"] + name, shape)
        return np.moveaxis(value, 1, -1) if value.ndim == 5 else value

    def mask(self) -> np.ndarray:
        shape = next(s for s in self.config["inputs"]["mask"] if len(s) == 2)
        return (normal(self.config["input_prefix"] + "mask", tuple(shape)) > 0).astype(np.float64)

    def read(self, case: dict):
        path = self.folder / case["file"]
        return json.loads(path.read_text()) if path.suffix == ".json" else np.load(path)


@dataclass(frozen=True)
class Case:
    goldens: Goldens
    name: str

    @property
    def spec(self) -> dict:
        return self.goldens.config["cases"][self.name]

    @property
    def id(self) -> str:
        return f"{self.goldens.folder.name}-{self.name}"


def load_cases(folder: Path) -> list[Case]:
    """Every case that the folder's config.json lists."""
    goldens = Goldens(folder)
    return [Case(goldens, name) for name in goldens.config["cases"]]


def load_folders(folders: list[Path]) -> tuple[list[Case], list[Component]]:
    """The network cases and the components of all folders, told apart by their config.json.

    Raises:
      ValueError: a folder holds neither.
    """
    cases, components = [], []
    for folder in folders:
        if (folder / "config.json").is_file():
            cases += load_cases(folder)
        elif found := [Component(folder, path.stem) for path in sorted(folder.glob("*.json"))]:
            components += found
        else:
            raise ValueError(f"{folder} has neither a config.json nor components (<name>.json with <name>.npz)")
    return cases, components
