"""Skin and lip albedo with the irregularities of real skin, and the fine relief of pores."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.head_shape import Canvas, blob, lip_line, mirrored, vermilion
from lipforcing_jax.data.identity import Identity
from lipforcing_jax.data.noise import fractal_noise, smoothstep, value_noise

_REDDER = np.array([0.35, -0.55, -0.45], np.float32)
"""Direction of more blood in log albedo."""
_DARKER = np.array([-0.55, -0.9, -1.0], np.float32)
"""Direction of more pigment in log albedo."""


def _blood(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    s, skin = identity.shape, identity.skin
    cheeks = mirrored(canvas, 0.26, 0.56, 0.09, 0.08) + 0.5 * mirrored(
        canvas, 0.09, s.nose_y + 0.03, 0.03, 0.04
    )
    nose = blob(canvas, 0, s.nose_y, 0.05, 0.05)
    chin = blob(canvas, 0, s.chin_y - 0.08, 0.08, 0.05)
    patch = fractal_noise((identity.noise_seed, 61), canvas.x, canvas.y, 6, 4)
    return skin.blush * (0.8 * cheeks + 0.7 * nose + 0.35 * chin) + 1.0 * skin.blotch * patch


def _pigment(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    s, skin, key = identity.shape, identity.skin, identity.noise_seed
    patch = 0.8 * skin.blotch * fractal_noise((key, 62), canvas.x, canvas.y, 6, 5, 0.65)
    fine = 0.03 * skin.pores * fractal_noise((key, 63), canvas.x, canvas.y, 70, 2, 0.8)
    bags = mirrored(canvas, s.eye_x - 0.02, s.eye_y + 0.055, 0.055, 0.018) + 0.7 * mirrored(
        canvas, 0.105, s.eye_y, 0.025, 0.035
    )
    around_mouth = blob(canvas, 0, 0.80, 0.19, 0.10) * 0.08
    spots = smoothstep(1.5, 2.3, value_noise((key, 64), canvas.x, canvas.y, 48))
    where = np.clip(0.4 + 0.6 * value_noise((key, 65), canvas.x, canvas.y, 6), 0, 1)
    total = patch + fine + 0.22 * skin.eye_bags * bags + around_mouth + 0.5 * skin.freckles * spots * where
    rng = np.random.default_rng([key, 66])
    for _ in range(skin.moles):
        x, y, radius = rng.uniform(-0.36, 0.36), rng.uniform(0.1, 1.0), rng.uniform(0.004, 0.009)
        total = total + rng.uniform(0.5, 1.4) * smoothstep(
            1.3, 0.7, np.hypot(canvas.x - x, canvas.y - y) / radius
        )
    return total


def _nostrils(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    s = identity.shape
    x, y = 0.056 * s.nose_width, s.nose_y + 0.058
    hole = ((np.abs(canvas.x) - x) / (0.027 * s.nose_width)) ** 2 + (
        (canvas.y - y + 0.25 * (np.abs(canvas.x) - x)) / 0.0115
    ) ** 2
    crease = 0.28 * mirrored(canvas, 0.128 * s.nose_width, s.nose_y + 0.033, 0.008, 0.022)
    return np.clip(smoothstep(1.7, 0.4, hole) * 0.9 + crease, 0, 0.95)


def lip_color(identity: Identity) -> np.ndarray:
    """Linear albedo of the lips: the skin's own colour with more blood, plus make-up."""
    lips = identity.lips
    skin = np.asarray(identity.skin.color, np.float32)
    natural = skin * np.exp(1.2 * (0.3 + lips.redness) * _REDDER - 0.15)
    target = (
        np.array([0.36, 0.10, 0.11], np.float32) * (1 - 0.4 * lips.tone)
        + np.array([0.05, 0.0, 0.02]) * lips.tone
    )
    make_up = np.clip((lips.redness - 0.5) / 0.45, 0, 1) * 0.65
    mixed = (1 - make_up) * natural + make_up * target
    return (mixed * (0.35 + 0.65 * lips.darkness)).astype(np.float32)


def albedo(
    identity: Identity, canvas: Canvas, stubble: Float32[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Linear albedo of face and closed lips, and how much of each pixel is lip."""
    lips = identity.lips
    tone = _blood(identity, canvas)[..., None] * _REDDER + _pigment(identity, canvas)[..., None] * _DARKER
    skin = np.asarray(identity.skin.color, np.float32) * np.exp(tone)
    shade = np.float32(0.42) * stubble[..., None]
    skin = skin * (1 - shade) + shade * (
        0.35 * skin.mean(axis=-1, keepdims=True) * np.array([0.9, 0.95, 1.05])
    )
    upper, lower = vermilion(identity, canvas)
    lip = upper + lower
    wrinkles = value_noise((identity.noise_seed, 71), canvas.x, canvas.y * 0.25, (85, 20))
    patch = fractal_noise((identity.noise_seed, 72), canvas.x, canvas.y, 25, 3)
    texture = np.exp(0.10 * lips.crease * wrinkles + 0.09 * patch - 0.14 * upper)
    strength = lip * (0.72 + 0.28 * np.clip((lips.redness + 0.2), 0, 1))
    lip_albedo = lip_color(identity) * texture[..., None]
    skin = skin + strength[..., None] * (lip_albedo - skin)
    # The line between the lips: dark, fading past the corners into small dimples.
    off = np.abs(canvas.y - lip_line(lips, canvas.x))
    reach = smoothstep(1.13, 0.93, np.abs(canvas.x) / np.float32(lips.half_width))
    line = reach * (0.72 * np.exp(-((off / 0.0065) ** 2)) + 0.22 * np.exp(-((off / 0.017) ** 2)))
    skin = skin * (1 - line[..., None] * np.array([0.80, 0.95, 0.93], np.float32))
    return (skin * (1 - _nostrils(identity, canvas)[..., None] * np.array([0.82, 0.92, 0.93]))).astype(
        np.float32
    ), lip


def fine_relief(
    identity: Identity, canvas: Canvas, lip: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """Pores, fine lines and lip creases (face units)."""
    key = identity.noise_seed
    pores = 0.0006 * identity.skin.pores * fractal_noise((key, 81), canvas.x, canvas.y, 55, 3, 0.8)
    creases = 0.0016 * identity.lips.crease * value_noise((key, 82), canvas.x, canvas.y * 0.3, (80, 20))
    return (pores * (1 - lip) + creases * lip).astype(np.float32)


def gloss(identity: Identity, canvas: Canvas, lip: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Strength of highlights: oily forehead and nose, moist lower lip, patchy elsewhere."""
    s = identity.shape
    oily = 0.45 + 0.8 * blob(canvas, 0, 0.45, 0.05, 0.16) + 0.6 * blob(canvas, 0, 0.08, 0.2, 0.09)
    oily = (
        oily
        + 0.5 * mirrored(canvas, 0.24, 0.5, 0.06, 0.05)
        + 0.4 * blob(canvas, 0, s.chin_y - 0.08, 0.06, 0.04)
    )
    patch = np.clip(1 + 0.25 * fractal_noise((identity.noise_seed, 83), canvas.x, canvas.y, 40, 3), 0, 2)
    below = smoothstep(0.0, 0.02, canvas.y - lip_line(identity.lips, canvas.x))
    wet = identity.lips.gloss * (0.35 + 0.65 * below)
    return (0.22 * identity.skin.shine * oily * patch * (1 - lip) + 0.7 * wet * lip * patch).astype(
        np.float32
    )
