"""The three forms of the mouth mask, all exact."""

import hashlib
import re

import cv2
import numpy as np

from golden_runs.component import Checks, Component
from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask, soft_mask

FORMS = ("source", "pixel", "latent", "soft")
LEVEL_SUM = 1e-2
"""A sum of a quarter of a million values in float32."""


def run(case: Component) -> Checks:
    """Every fact is named after a form and a size, every array after a fact and what is stored of it."""
    sizes = {
        form: [int(n.split("_")[1]) for n in case.facts["facts"] if re.fullmatch(rf"{form}_\d+", n)] for form in FORMS
    }
    for size in sizes["source"]:
        mask = pixel_mask(size)
        yield f"source_{size}", mask, case.arrays[f"source_{size}"], 0.0
        yield from binary_checks(case, f"source_{size}", mask)
        yield f"source_{size}: values", np.unique(mask * 255), case.facts["facts"][f"source_{size}"]["values"], 0.0
    for size in sizes["pixel"]:
        mask = pixel_mask(size)
        yield f"pixel_{size}_bits", np.packbits(mask), case.arrays[f"pixel_{size}_bits"], 0.0
        yield from binary_checks(case, f"pixel_{size}", mask)
    for size in sizes["latent"]:
        mask = latent_mask(size)
        yield f"latent_{size}", mask, case.arrays[f"latent_{size}"], 0.0
        yield from binary_checks(case, f"latent_{size}", mask)
    for size in sizes["soft"]:
        yield from soft_checks(case, size)
    yield from relation_checks(case.facts["facts"])


def binary_checks(case: Component, name: str, mask: np.ndarray) -> Checks:
    facts = case.facts["facts"][name]
    rows, columns = np.flatnonzero((mask == 0).any(axis=1)), np.flatnonzero((mask == 0).any(axis=0))
    ours = [*mask.shape, (mask == 0).sum(), (mask == 1).sum(), rows[0], rows[-1], columns[0], columns[-1]]
    golden = [*facts["shape"], facts["zeros"], facts["ones"], *facts["zero_rows"], *facts["zero_columns"]]
    yield f"{name}: size, counts and bounds", ours, golden, 0.0
    ends = (mask[rows[[0, -1]]] == 0).sum(axis=1)
    yield f"{name}: first and last row", ends, facts["zeros_per_row_of_first_and_last"], 0.0
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    yield f"{name}: digest", digest == facts["sha256_of_packed_bits"], True, 0.0


def soft_checks(case: Component, size: int) -> Checks:
    facts, mask, part = case.facts["facts"][f"soft_{size}"], soft_mask(size), case.part("soft_<n>_rows")
    rows = np.round(mask[part] * 255).astype(np.uint8)
    yield f"soft_{size}_rows", rows, case.arrays[f"soft_{size}_rows"], 0.0
    ours = [(mask == 0).sum(), (mask == 1).sum(), ((mask > 0) & (mask < 1)).sum(), np.unique(mask).size]
    golden = [facts["exactly_zero"], facts["exactly_one"], facts["between"], facts["levels"]]
    yield f"soft_{size}: counts", ours, golden, 0.0
    yield f"soft_{size}: sum", mask.sum(dtype=np.float64), facts["sum"], LEVEL_SUM


def relation_checks(facts: dict) -> Checks:
    """Sentences about two forms, where the file makes them."""
    for name, stated in facts.items():
        if found := re.fullmatch(r"pixel_(\d+)_equals_nearest_doubling_of_source", name):
            size = int(found[1])
            doubled = cv2.resize(pixel_mask(size // 2), (size, size), interpolation=cv2.INTER_NEAREST)
            yield name, np.array_equal(pixel_mask(size), doubled), stated, 0.0
        elif found := re.fullmatch(r"latent_(\d+)_equals_mean_of_centre_2x2_of_each_4x4_above_half", name):
            size = int(found[1])
            cells = pixel_mask(4 * size).reshape(size, 4, size, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
            yield name, np.array_equal(latent_mask(size), cells > 0.5), stated, 0.0
        else:
            assert re.fullmatch(rf"({'|'.join(FORMS)})_\d+", name), f"no one knows how to check {name!r}"
