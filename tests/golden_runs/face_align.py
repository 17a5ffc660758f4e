"""Alignment by landmarks, crops, and the reference's paste-back, with the goldens' tolerances.

Crops and faces: at most one level in 0.2 % of the values. Paste: 0.05 in float except for 0.1 % of the values, where a
level of the aligned face may flip; in 8 bits one level in 8 %, because many values sit on a whole number.
"""

import re

import numpy as np

from golden_runs.component import Checks, Component
from lipforcing_jax.media import alignment, compositing
from lipforcing_jax.media.alignment import SmoothingState, similarity_transform
from lipforcing_jax.weights.recipe import generator

INPUTS = ("landmarks",)


def frame(facts: dict, index: int) -> np.ndarray:
    """A frame by the file's formula, RGB."""
    height, width = facts["frame_size"]["height"], facts["frame_size"]["width"]
    y, x = np.mgrid[:height, :width]
    t = (x + 2 * y + 9 * index) % 510
    blue = np.minimum(np.minimum(t, 510 - t), 255)
    return np.stack([255 * x // (width - 1), 255 * y // (height - 1), blue], axis=-1).astype(np.uint8)


def generated_face(facts: dict) -> np.ndarray:
    """The face by the file's formula, float32 in [0, 1], channels last."""
    shape, times = re.match(r"random\(\((\d+,\d+,\d+)\)\).* repeated (\d+) times", facts["formula"]).groups()
    coarse = generator(facts["key"]).random(tuple(map(int, shape.split(",")))).astype(np.float32)
    np.testing.assert_allclose(coarse.sum(dtype=np.float64), facts["sum_low"], rtol=1e-9)
    return np.moveaxis(coarse.repeat(int(times), axis=1).repeat(int(times), axis=2), 0, -1)


def few(name: str, ours, golden, most: float, usual: float, share: float) -> Checks:
    """Differences up to `most`, and only a `share` of the values differs by more than `usual`."""
    apart = np.abs(np.asarray(ours, np.float64) - golden)
    yield name, ours, golden, most
    yield f"{name}: share beyond {usual}", np.mean(apart > usual), 0.0, share


def run(case: Component) -> Checks:
    facts = case.facts
    template = np.asarray(facts["template"])
    yield "template", alignment.REFERENCE_TEMPLATE, template, 1e-9
    yield "crop size", [alignment.CROP_WIDTH, alignment.CROP_HEIGHT], facts["crop_width_height"], 0.0
    matrix, state = similarity_transform(template, SmoothingState())
    itself = facts["template_onto_itself"]
    yield "template onto itself", matrix, itself["matrix"], 1e-4
    yield "template onto itself: bias", state.bias, itself["bias"], 0.0
    yield from matrix_checks(case.arrays)
    for name in case.arrays:
        if found := re.fullmatch(r"crop_(\d+)", name):
            yield from crop_checks(case, int(found[1]))
    for tag, paste in facts["paste"].items():
        yield from paste_checks(case, tag, paste)


def matrix_checks(golden: dict) -> Checks:
    """Points and matrices of all frames, with smoothing from the first on."""
    points = np.stack([alignment.three_points_from_106(found) for found in golden["landmarks"]])
    yield "three_points", points, golden["three_points"], 0.0
    state, matrices, biases = SmoothingState(), [], []
    for three in points:
        matrix, state = similarity_transform(three, state)
        matrices.append(matrix)
        biases.append(state.bias)
    matrices, whole = np.stack(matrices), golden["matrix_float32"]
    yield "matrix_float32: linear part", matrices[..., :2], whole[..., :2], 1e-5
    yield "matrix_float32: translation", matrices[..., 2], whole[..., 2], 2e-3
    yield "bias", np.stack(biases), golden["bias"], 1e-5
    yield "matrix_float16", alignment.round_to_half(matrices), golden["matrix_float16"], 0.0


def crop_checks(case: Component, index: int) -> Checks:
    golden, picture = case.arrays, frame(case.facts, index)
    matrix = golden["matrix_float16"][index].astype(np.float32)
    crop, face = alignment.crop_reference(picture, matrix), alignment.align_face_reference(picture, matrix)
    for name, whole in (("crop", crop), ("face", face)):
        part, stored = case.part(f"{name}_<f>"), f"{name}_{index}"
        yield from few(stored, whole[part, part], golden[stored], 1.0, 0.0, 0.002)
        yield f"{stored}_channel_mean", whole.mean(axis=(0, 1)), golden[f"{stored}_channel_mean"], 0.01
    rows = face[case.part("face_<f>_rows")]
    yield from few(f"face_{index}_rows", rows, golden[f"face_{index}_rows"], 1.0, 0.0, 0.002)


def paste_checks(case: Component, tag: str, facts: dict) -> Checks:
    golden, picture = case.arrays, frame(case.facts, facts["frame"])
    matrix = golden["matrix_float16"][facts["frame"]].astype(np.float32)
    generated = generated_face(case.facts["generated_face"])
    aligned = alignment.align_face_reference(picture, matrix, generated.shape[0])
    mode = "mouth" if facts["mouth_only"] else "full"
    (top, bottom), (left, right), step = facts["window_rows"], facts["window_columns"], facts["stride"]
    window = slice(top, bottom, step), slice(left, right, step)

    face = compositing.blend_mouth(generated, aligned) if facts["mouth_only"] else generated
    part = case.part("paste_<tag>_resized_face")
    resized = np.moveaxis((compositing.resize_to_crop(face) * 2 - 1)[part, part], -1, 0)
    name = f"paste_{tag}_resized_face"
    yield from few(name, resized, golden[name], 0.02, 1e-3, 0.001)

    values, box = compositing.paste_reference_float(picture, generated, aligned, matrix, mode)
    inside = slice(box[1], box[3]), slice(box[0], box[2])
    whole = picture.astype(np.float32)
    whole[inside] = values
    yield from few(f"paste_{tag}_float", whole[window], golden[f"paste_{tag}_float"], 2.0, 0.05, 0.001)
    yield f"paste_{tag}_float: mean", whole.mean(axis=(0, 1), dtype=np.float64), facts["float_channel_mean"], 1e-3

    footprint, weight = compositing.footprint_weight(matrix, box)
    sums = [footprint.sum(dtype=np.float64), weight.sum(dtype=np.float64)]
    stated = [facts["eroded_mask_sum"], facts["weight_sum"]]
    yield f"paste_{tag}_weight: sums", np.divide(sums, stated), [1.0, 1.0], 1e-5
    spread = np.zeros(picture.shape[:2], np.float32)
    spread[inside] = weight
    yield f"paste_{tag}_weight", spread[window], golden[f"paste_{tag}_weight"], 1e-4

    result = compositing.paste_reference(picture, generated, aligned, matrix, mode)
    yield from few(f"paste_{tag}_uint8", result[window], golden[f"paste_{tag}_uint8"], 1.0, 0.0, 0.08)
    changed = result != picture
    yield f"paste_{tag}_uint8: changed pixels", changed.any(axis=-1).sum() / facts["changed_pixels"], 1.0, 0.01
    changed[inside] = False
    yield f"paste_{tag}_uint8: changes outside of the face", changed.sum(), 0, 0.0
