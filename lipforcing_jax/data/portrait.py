"""The still picture of a talker: painted and lit once, with closed lips and without eyes, warped for each
frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data import hair, skin, surround
from lipforcing_jax.data.head_shape import Canvas, height_field, make_canvas, outline, soften
from lipforcing_jax.data.identity import Identity, Light
from lipforcing_jax.data.noise import smoothstep
from lipforcing_jax.data.shading import illuminate

CROP = (-0.5, 0.0, 0.5, 4.0 / 3.0)
"""The aligned crop in face units: left, top, right, bottom."""


@dataclass(frozen=True)
class Portrait:
    """Everything about an identity that does not change from frame to frame.

    Colours are display-referred RGB in [0, 1]. `left`, `top` and `pixels_per_unit` place the arrays' pixels
    in face units. `head` is RGB and coverage; `height` is the relief (face units) at a quarter of the
    resolution. `mouth_colors` rows: cavity, teeth, gums, tongue; `eye_colors` rows: sclera, iris, pupil,
    lash.
    """

    identity: Identity
    left: float
    top: float
    pixels_per_unit: float
    head: Float32[np.ndarray, "h w 4"]
    background: Float32[np.ndarray, "h w 3"]
    glasses: Float32[np.ndarray, "h w 4"] | None
    height: Float32[np.ndarray, "h4 w4"]
    folds: Float32[np.ndarray, "h w"]
    mouth_colors: Float32[np.ndarray, "4 3"]
    eye_colors: Float32[np.ndarray, "4 3"]


def develop(light: Light, linear: np.ndarray, gain: float) -> np.ndarray:
    """Camera response: exposure, soft shoulder, gamma, contrast and saturation; linear light to [0, 1]."""
    exposed = np.clip(linear, 0, None) * gain
    exposed = exposed / (1 + 0.25 * exposed)
    display = np.clip(exposed, 1e-5, 1.0) ** (1 / 2.2)
    display = 0.5 + (display - 0.5) * light.contrast
    grey = display.mean(axis=-1, keepdims=True)
    return np.clip(grey + (display - grey) * light.saturation, 0.0, 1.0).astype(np.float32)


def _over(below: np.ndarray, layer: hair.Layer, lit: np.ndarray | float = 1.0) -> np.ndarray:
    return below + layer.alpha[..., None] * (layer.color * lit - below)


def _paint_face(identity: Identity, canvas: Canvas, f: np.ndarray, angle: np.ndarray):
    beard, stubble = hair.beard(identity, canvas, f)
    brows = hair.brows(identity, canvas)
    head_hair = hair.head_hair(identity, canvas, f, angle)
    base, lip = skin.albedo(identity, canvas, stubble)
    height = height_field(identity, canvas)
    surface = (
        height
        + soften(beard.relief + brows.relief, 0.006, canvas)
        + soften(head_hair.alpha, 0.02, canvas) * 0.04
    )
    fine = (
        skin.fine_relief(identity, canvas, lip) * (1 - beard.alpha)
        + beard.relief
        + head_hair.alpha * head_hair.relief
    )
    shine = skin.gloss(identity, canvas, lip) * (1 - beard.alpha) + 0.06 * beard.alpha
    diffuse, specular = illuminate(identity, surface, fine, shine, canvas)
    face = _over(_over(base, beard), brows) * diffuse + specular
    return face, diffuse, height, head_hair


def prepare(
    identity: Identity,
    size: int = 128,
    extent: tuple[float, float, float, float] = CROP,
    margin: float = 0.14,
) -> Portrait:
    """Paints the talker for pictures in which the aligned crop is `size` pixels high and wide.

    Args:
      identity: whom to paint.
      size: side of the (squeezed) aligned crop in pixels, 16 or more.
      extent: part of the picture plane to cover (face units: left, top, right, bottom).
      margin: what is painted beyond the extent, for head motion.
    """
    if size < 16:
        raise ValueError(f"size must be at least 16, got {size}")
    left, top, right, bottom = extent[0] - margin, extent[1] - margin, extent[2] + margin, extent[3] + margin
    canvas = make_canvas(left, top, right, bottom, 1.25 * size)
    f, angle = outline(identity, canvas)
    face, diffuse, height, head_hair = _paint_face(identity, canvas, f, angle)
    pixel = 1.0 / canvas.pixels_per_unit
    on_face = smoothstep(1 + 1.5 * pixel, 1 - 1.5 * pixel, f)
    neck, cloth = surround.neck(identity, canvas, f), surround.clothes(identity, canvas)
    ears = surround.ears(identity, canvas)
    middle = diffuse[(f < 0.9) & (canvas.y > 0.4)].mean(axis=0)
    around = middle * 0.95
    picture = np.zeros_like(face) + 0.02
    picture = _over(picture, neck, around)
    picture = _over(picture, cloth, around)
    picture = _over(picture, ears, around)
    picture = picture + on_face[..., None] * (face - picture)
    strands_light = 0.35 * soften(diffuse, 0.05, canvas) + 0.65 * around
    shadow = 1 - 0.45 * soften(head_hair.alpha, 0.035, canvas)[..., None] * (f < 1.05)[..., None]
    picture = _over(picture * shadow, head_hair, strands_light * (0.55 + 0.45 * shadow))
    alpha = 1 - (1 - on_face) * (1 - neck.alpha) * (1 - cloth.alpha) * (1 - ears.alpha) * (
        1 - head_hair.alpha
    )
    gain = _exposure(identity, face, f, canvas)
    behind = surround.background(identity, canvas)
    layer = surround.lenses(identity, canvas)
    display = develop(identity.light, picture, gain)
    return Portrait(
        identity=identity,
        left=left,
        top=top,
        pixels_per_unit=canvas.pixels_per_unit,
        head=np.ascontiguousarray(np.concatenate([display, alpha[..., None].astype(np.float32)], axis=-1)),
        background=develop(identity.light, behind, 1.0),
        glasses=layer if identity.glasses.kind else None,
        height=np.ascontiguousarray(soften(height, 0.02, canvas)[::4, ::4]),
        folds=_fold_map(identity, canvas),
        mouth_colors=_mouth_colors(identity, middle, gain),
        eye_colors=_eye_colors(identity, middle, gain),
    )


def _exposure(identity: Identity, face: np.ndarray, f: np.ndarray, canvas: Canvas) -> float:
    """Gain that brings the face's median to the camera's exposure target."""
    region = face[(f < 0.85) & (canvas.y > 0.1)]
    median = float(np.median(region.mean(axis=-1)))
    return float(identity.light.exposure**2.2 / max(median, 1e-4))


def _fold_map(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    """Darkening of the smile lines when the mouth spreads."""
    along = np.clip((canvas.y - 0.60) / 0.26, 0, 1)
    curve = 0.125 * identity.shape.nose_width + 0.115 * along
    line = np.exp(-(((np.abs(canvas.x) - curve) / 0.014) ** 2)) - 0.5 * np.exp(
        -(((np.abs(canvas.x) - curve - 0.05) / 0.04) ** 2)
    )
    return (line * smoothstep(0.0, 0.2, along) * smoothstep(1.0, 0.6, along)).astype(np.float32)


def _mouth_colors(identity: Identity, light: np.ndarray, gain: float) -> Float32[np.ndarray, "4 3"]:
    a = identity.articulation
    teeth = np.array([0.62, 0.55, 0.46]) * (1 - a.teeth_tone) + np.array([0.80, 0.77, 0.72]) * a.teeth_tone
    rows = np.array(
        [
            np.array([0.050, 0.018, 0.014]) * (0.35 + 1.0 * a.cavity),
            teeth * 0.72,
            [0.36, 0.14, 0.13],
            np.array([0.36, 0.13, 0.12]) * (0.7 + 0.6 * a.tongue),
        ]
    )
    return develop(identity.light, rows * light, gain)


def _eye_colors(identity: Identity, light: np.ndarray, gain: float) -> Float32[np.ndarray, "4 3"]:
    skin = float(np.mean(identity.skin.color))
    white = 0.26 + 0.5 * skin
    rows = np.array(
        [[white, 0.92 * white, 0.88 * white], identity.eyes.iris, [0.008, 0.007, 0.007], [0.03, 0.022, 0.02]]
    )
    return develop(identity.light, rows * light, gain)
