"""Reads a folder of reference numbers: sizes, inputs, weights by recipe, cases (see its config.json)."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.weights.recipe import normal

TRAINING_KINDS = {"rollout", "critic", "student", "vsd", "lora", "losses", "grads"}


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
    goldens = Goldens(folder)
    present = {p.name for p in folder.iterdir()}
    return [Case(goldens, name) for name, c in goldens.config["cases"].items() if c["file"] in present]
