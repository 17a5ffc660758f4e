"""Head hair, beards, stubble and brows as colour, coverage and relief over the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.head_shape import Canvas, blob, lip_line, mirrored, upper_height
from lipforcing_jax.data.identity import Identity
from lipforcing_jax.data.noise import fractal_noise, smoothstep, value_noise

BALD, SHORT, MEDIUM, LONG, CAP = range(5)


@dataclass(frozen=True)
class Layer:
    """A painted layer: coverage, linear colour and relief (face units) per pixel."""

    alpha: Float32[np.ndarray, "h w"]
    color: Float32[np.ndarray, "h w 3"]
    relief: Float32[np.ndarray, "h w"]


def strands(key: tuple[int, ...], along: np.ndarray, across: np.ndarray, density: float) -> np.ndarray:
    """Streaks along one coordinate: coarse locks and fine hairs, about unit variance."""
    coarse = value_noise((*key, 0), across, along, (density * 0.3, 3))
    middle = value_noise((*key, 1), across, along, (density, 6))
    fine = value_noise((*key, 2), across, along, (density * 2.6, 12))
    return (0.45 * coarse + 0.6 * middle + 0.6 * fine).astype(np.float32)


def bristles(key: tuple[int, ...], along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Short hairs of a beard: fine, with no long locks; about unit variance."""
    coarse = value_noise((*key, 0), across, along, (34, 16))
    middle = value_noise((*key, 1), across, along, (75, 30))
    fine = value_noise((*key, 2), across, along, (150, 50))
    return (0.4 * coarse + 0.6 * middle + 0.7 * fine).astype(np.float32)


def head_hair(identity: Identity, canvas: Canvas, f: np.ndarray, angle: np.ndarray) -> Layer:
    """Hair around the face (or a cap); alpha is 0 everywhere for a bald head."""
    hair = identity.hair
    key = (identity.noise_seed, 31)
    edge = 0.010 * fractal_noise((*key, 9), canvas.x * 1.6, canvas.y * 0.5, 14, 4, 0.8)
    if hair.style == BALD:
        zero = np.zeros_like(f)
        return Layer(zero, np.zeros((*f.shape, 3), np.float32), zero)
    if hair.style == CAP:
        return _cap(identity, canvas, f, edge)
    side = canvas.x - np.float32(hair.parting)
    arch = 0.02 + hair.line + 0.16 * hair.fringe - 0.28 * canvas.x**2 * (1 - hair.fringe)
    top = smoothstep(0.03, -0.03, canvas.y - arch + 1.2 * edge - 0.03 * np.abs(side))
    reach = {SHORT: 1.62, MEDIUM: 1.15, LONG: 0.55}[hair.style]
    flank = smoothstep(1.0 - hair.cover, 1.04 - hair.cover, f + edge) * smoothstep(
        reach - 0.10, reach, angle + 2 * edge
    )
    outer = 1.05 + hair.volume + (0.05 if hair.style == LONG else 0.0)
    skull = smoothstep(outer + 0.03, outer - 0.03, f + edge)
    alpha = np.maximum(top, flank) * skull
    if hair.style == LONG:
        length = smoothstep(1.9, 1.6, canvas.y + 3 * edge)
        inner = 0.40 - hair.cover + 0.03 * np.sin(canvas.y * 4 + hair.parting * 20)
        inner = inner + 0.5 * np.clip(0.45 - canvas.y, 0, 0.5)
        hang = smoothstep(inner - 0.015, inner + 0.015, np.abs(canvas.x) + edge)
        hang *= smoothstep(0.60 + hair.volume, 0.54 + hair.volume, np.abs(canvas.x) + edge)
        alpha = np.maximum(alpha, hang * smoothstep(-0.05, 0.05, canvas.y) * length)
    flow = np.abs(side) + 0.3 * canvas.y * (canvas.y < 0.2) + 0.04 * edge
    streak = strands(key, canvas.y + 0.15 * np.sin(4 * canvas.x), flow * 1.0, 60)
    grey = np.clip(0.5 + 0.5 * value_noise((*key, 5), flow, canvas.y, (90, 6)), 0, 1) * hair.grey
    color = np.asarray(hair.color, np.float32) * np.exp(0.42 * streak)[..., None]
    color = color + (0.45 * grey)[..., None] * (np.float32(0.5) - color)
    return Layer(alpha.astype(np.float32), color, (0.006 * streak + 0.02).astype(np.float32))


def _cap(identity: Identity, canvas: Canvas, f: np.ndarray, edge: np.ndarray) -> Layer:
    hair = identity.hair
    brim = 0.07 + 0.5 * hair.line - 0.35 * canvas.x**2
    cap = smoothstep(0.012, -0.012, canvas.y - brim) * smoothstep(1.14, 1.10, f)
    under = smoothstep(1.0, 1.03, f + edge) * smoothstep(0.62, 0.5, canvas.y) * smoothstep(1.1, 1.05, f)
    weave = 0.05 * value_noise((identity.noise_seed, 33), canvas.x, canvas.y, 120)
    fold = 0.12 * value_noise((identity.noise_seed, 34), canvas.x, canvas.y, 7)
    rim = -0.5 * np.exp(-(((canvas.y - brim + 0.03) / 0.008) ** 2))
    color = np.asarray(hair.cap, np.float32) * np.exp(weave + fold + rim)[..., None]
    color = np.where(cap[..., None] > 0.5, color, np.asarray(hair.color, np.float32))
    return Layer(np.maximum(cap, under).astype(np.float32), color, (0.05 * cap).astype(np.float32))


def _beard_region(identity: Identity, canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where beard, moustache and goatee may grow, each in [0, 1]; the lips stay free."""
    shape, lips = identity.shape, identity.lips
    side = np.abs(canvas.x)
    wobble = 0.010 * fractal_noise((identity.noise_seed, 41), canvas.x, canvas.y, 12, 4, 0.8)
    # The upper border of the beard falls from the sideburn to the corner of the mouth.
    border = 0.82 - 0.55 * np.clip((side - 0.17) / 0.25, 0, 1) ** 1.4
    cheek = smoothstep(-0.05, 0.06, canvas.y - border + wobble)
    up = lip_line(lips, canvas.x) - canvas.y
    free_above = smoothstep(0.000, 0.016, up - upper_height(lips, canvas.x) + 0.3 * wobble)
    below_lip = smoothstep(
        0.004, 0.03, -up - lips.lower * (1 - np.minimum(side / lips.half_width, 1) ** 2) ** 0.6
    )
    soul = 1 - 0.75 * mirrored(canvas, 0.055, lips.y + lips.lower + 0.035, 0.03, 0.02)
    beard = np.maximum(cheek * (side > lips.half_width + 0.01), cheek * below_lip * soul)
    beard = beard * smoothstep(0.36, 0.60, canvas.y)
    arch = smoothstep(0.20 + wobble, 0.13 + wobble, side + 0.3 * np.clip(canvas.y - lips.y, 0, 1))
    moustache = arch * free_above * smoothstep(0.635, 0.70, canvas.y + wobble + 0.25 * side) * (up > -0.09)
    moustache *= 1 - 0.5 * blob(canvas, 0, 0.68, 0.014, 0.03)
    drop = smoothstep(0.20, 0.15, side + wobble) * (1 - smoothstep(0.0, 0.02, up + 0.02))
    goatee = smoothstep(0.155, 0.11, side + wobble - 0.35 * np.clip(0.9 - canvas.y, 0, 0.2))
    goatee = goatee * below_lip * soul * (drop > 0) * smoothstep(shape.chin_y + 0.12, shape.chin_y, canvas.y)
    return beard, moustache, goatee


def beard(identity: Identity, canvas: Canvas, f: np.ndarray) -> tuple[Layer, Float32[np.ndarray, "h w"]]:
    """Beard layer and the stubble's shadow (how much stubble darkens and cools the skin, [0, 1])."""
    hair = identity.hair
    key = (identity.noise_seed, 42)
    full, moustache, goatee = _beard_region(identity, canvas)
    region = np.maximum(np.maximum(full, moustache), goatee)
    zone = np.maximum(np.maximum(full * hair.beard, moustache * hair.moustache), goatee * hair.goatee)
    zone = zone * smoothstep(1.10, 1.0, f)
    lean = canvas.x * 0.9 + 0.35 * np.sign(canvas.x) * (canvas.y - 0.7)
    streak = bristles(key, canvas.y, lean)
    thick = 0.10 * fractal_noise((*key, 7), canvas.x, canvas.y, 10, 4, 0.7)
    alpha = 0.95 * smoothstep(0.05, 0.58, zone * (0.85 + 0.09 * streak + thick))
    dark = 0.75 * np.asarray(hair.color, np.float32) / (1 + 0.6 * hair.grey)
    white = np.clip(0.35 + 0.25 * streak + 1.6 * (canvas.y - 0.95), 0, 1) * hair.beard_grey
    color = dark * np.exp(0.32 * streak)[..., None]
    color = color + white[..., None] * (np.float32(0.42) - color)
    dots = np.clip(0.55 + 0.45 * value_noise((*key, 8), canvas.x, canvas.y, 150), 0, 1)
    stubble = hair.stubble * region * dots * smoothstep(1.08, 1.0, f)
    relief = 0.004 * streak * alpha + 0.016 * alpha
    return Layer(alpha.astype(np.float32), color, relief.astype(np.float32)), stubble.astype(np.float32)


def brows(identity: Identity, canvas: Canvas) -> Layer:
    """Both eyebrows."""
    eyes, shape = identity.eyes, identity.shape
    side = np.abs(canvas.x + np.float32(shape.asymmetry))
    along = np.clip((side - 0.075) / 0.275, 0, 1)
    middle = (
        0.268
        - eyes.brow_arch * np.sin(np.pi * along**1.3)
        + 0.012 * along
        + shape.asymmetry * np.sign(canvas.x)
    )
    thick = eyes.brow_thickness * (1.0 - 0.62 * along)
    ends = smoothstep(0.062, 0.10, side) * smoothstep(0.365, 0.30, side)
    streak = strands(
        (identity.noise_seed, 51), side, canvas.y * 1.3 + 0.35 * side * np.sign(middle - canvas.y), 60
    )
    cover = np.exp(-(((canvas.y - middle) / thick) ** 2)) * ends * (0.9 + 0.28 * streak)
    alpha = np.clip(1.25 * eyes.brow_density * smoothstep(0.15, 0.9, cover), 0, 0.95)
    color = 0.7 * np.asarray(identity.hair.color, np.float32) * np.exp(0.3 * streak)[..., None]
    return Layer(alpha.astype(np.float32), color, (0.003 * alpha).astype(np.float32))
