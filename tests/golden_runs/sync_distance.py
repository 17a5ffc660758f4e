"""Distances over shifts, Sync-C and Sync-D, in the scorer's and the evaluation's form; shifts are exact."""

import re

import numpy as np

from golden_runs.component import Checks, Component
from lipforcing_jax.models.sync_distance import score, shift_distances
from lipforcing_jax.weights.recipe import normal

INPUTS = ("lip_", "audio_")
TOLERANCE = 1e-4
RECIPE = re.compile(
    r"base = standard_normal\((?P<shape>\d+,\d+)\) of key (?P<key>\S+); "
    r"base <- \(base \+ roll1 \+ roll2\)/sqrt\(3\) along axis 0; "
    r"lip = base\[(?P<lip>\d+:\d+)\]; "
    r"audio = base\[(?P<audio>\d+:\d+)\] \+ (?P<scale>[\d.]+) \* "
    r"standard_normal\((?P<noise>\d+,\d+)\) of key (?P<noise_key>\S+); both float32"
)


def features(case: Component, name: str, facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """Both sequences: stored, or drawn as the file's sentence says."""
    if f"lip_{name}" in case.arrays:
        return case.arrays[f"lip_{name}"], case.arrays[f"audio_{name}"]
    found = RECIPE.fullmatch(facts["features"])
    assert found, f"{name}: no one knows how to draw {facts['features']!r}"
    numbers = lambda group, mark: [int(n) for n in found[group].split(mark)]  # noqa: E731
    base = normal(found["key"], numbers("shape", ","))
    base = (base + np.roll(base, 1, axis=0) + np.roll(base, 2, axis=0)) / np.sqrt(3)
    noise = float(found["scale"]) * normal(found["noise_key"], numbers("noise", ","))
    sounds = base[slice(*numbers("audio", ":"))] + noise
    return base[slice(*numbers("lip", ":"))].astype(np.float32), sounds.astype(np.float32)


def run(case: Component) -> Checks:
    reach = case.facts["max_shift"]
    for name, facts in case.facts["cases"].items():
        faces, sounds = features(case, name, facts)
        sums = [faces.sum(dtype=np.float64), sounds.sum(dtype=np.float64)]
        yield f"{name}: input sums", sums, [facts["lip_sum"], facts["audio_sum"]], 1e-6
        yield f"{name}: pairs", min(len(faces), len(sounds)), facts["pairs"], 0.0
        distances = shift_distances(faces, sounds, reach)
        yield f"in_range_{name}", distances, case.arrays[f"in_range_{name}"], TOLERANCE
        yield from in_range_checks(name, distances, facts["in_range"])
        distances = shift_distances(faces, sounds, reach, zero_padded=True)
        yield f"zero_padded_{name}", distances, case.arrays[f"zero_padded_{name}"], TOLERANCE
        yield from zero_padded_checks(name, distances, facts["zero_padded"])


def in_range_checks(name: str, distances, facts: dict, tolerance: float = TOLERANCE, exact: bool = True) -> Checks:
    """The scorer's summary; without `exact` the place of the minimum is not compared."""
    found = score(distances)
    ours = [found.confidence, found.distance, found.confidence + found.distance]
    yield f"in_range_{name}: summary", ours, [facts["sync_c"], facts["sync_d"], facts["median"]], tolerance
    if exact:
        yield f"in_range_{name}: shift", found.shift, facts["argmin_shift"], 0.0


def zero_padded_checks(name: str, distances, facts: dict, tolerance: float = TOLERANCE, exact: bool = True) -> Checks:
    """The published evaluation's summary; its offset counts the other way."""
    found = score(distances)
    ours = [found.confidence, found.distance, found.confidence + found.distance]
    golden = [facts["confidence"], facts["min_distance"], facts["median"]]
    yield f"zero_padded_{name}: summary", ours, golden, tolerance
    if exact:
        yield f"zero_padded_{name}: offset", -found.shift, facts["offset"], 0.0
