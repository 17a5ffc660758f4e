"""The head as a height field over the picture plane, and the curves that the painters share."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32
from scipy.interpolate import CubicSpline

from lipforcing_jax.data.identity import Identity, Lips
from lipforcing_jax.data.noise import smoothstep, value_noise

CENTRE_Y = 0.45
"""Height of the origin of the polar outline (face units)."""


@dataclass(frozen=True)
class Canvas:
    """A pixel grid in face units: coordinates of the pixel centres and pixels per unit along x."""

    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    pixels_per_unit: float


def make_canvas(left: float, top: float, right: float, bottom: float, pixels_per_unit: float) -> Canvas:
    """Grid of square pixels that covers the given rectangle of face units."""
    width = int(round((right - left) * pixels_per_unit))
    height = int(round((bottom - top) * pixels_per_unit))
    column = left + (np.arange(width, dtype=np.float32) + 0.5) / np.float32(pixels_per_unit)
    row = top + (np.arange(height, dtype=np.float32) + 0.5) / np.float32(pixels_per_unit)
    x, y = np.meshgrid(column, row)
    return Canvas(x, y, float(pixels_per_unit))


def blob(canvas: Canvas, x: float, y: float, sigma_x: float, sigma_y: float) -> Float32[np.ndarray, "h w"]:
    """Unit Gaussian hill."""
    return np.exp(-0.5 * (((canvas.x - x) / sigma_x) ** 2 + ((canvas.y - y) / sigma_y) ** 2))


def mirrored(
    canvas: Canvas, x: float, y: float, sigma_x: float, sigma_y: float
) -> Float32[np.ndarray, "h w"]:
    """The same hill left and right of the middle."""
    return blob(canvas, -x, y, sigma_x, sigma_y) + blob(canvas, x, y, sigma_x, sigma_y)


def outline(
    identity: Identity, canvas: Canvas
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Polar description of the face's outline.

    Returns:
      (f, angle): f is 1 on the outline, 0 at the middle of the face; angle is 0 at the chin and pi at the
      crown.
    """
    s = identity.shape
    points = [
        (0.0, s.chin_y),
        (0.085 * s.chin_width, s.chin_y - 0.012),
        (0.225 * s.chin_width * s.jaw, s.chin_y - 0.078),
        (0.325 * s.jaw, 0.94 + 0.6 * (s.chin_y - 1.085)),
        (0.392 * s.jaw, 0.80),
        (0.430 * s.width, 0.62),
        (0.455 * s.width, 0.40),
        (0.455 * s.width, 0.18),
        (0.40 * s.width, -0.05 * s.forehead),
        (0.22 * s.width, -0.24 * s.forehead),
        (0.0, -0.30 * s.forehead),
    ]
    angles = np.array([np.arctan2(px, py - CENTRE_Y) for px, py in points])
    radii = np.array([np.hypot(px, py - CENTRE_Y) for px, py in points])
    spline = CubicSpline(
        np.concatenate([-angles[:0:-1], angles]), np.concatenate([radii[:0:-1], radii]), bc_type="natural"
    )
    table = spline(np.linspace(0, np.pi, 721)).astype(np.float32)
    x = canvas.x - np.float32(s.asymmetry) * (canvas.y - 0.2)
    below = canvas.y - CENTRE_Y
    angle = np.arctan2(np.abs(x), below)
    radius = np.interp(angle, np.linspace(0, np.pi, 721), table).astype(np.float32)
    return np.hypot(x, below) / radius, angle


def lip_line(lips: Lips, x: Float32[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    """Height of the line where the closed lips touch, at portrait position x."""
    r = x / np.float32(lips.half_width)
    wave = 0.006 * np.exp(-((r / 0.28) ** 2)) - 0.004 * np.exp(-(((np.abs(r) - 0.45) / 0.25) ** 2))
    return np.float32(lips.y) + wave - np.float32(lips.smile) * np.minimum(r * r, 1.6)


def upper_height(lips: Lips, x: Float32[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    """Height of the upper lip's red part at x (0 outside the corners)."""
    r = np.minimum(np.abs(x) / np.float32(lips.half_width), 1.0)
    arch = (1.0 - r**1.7) ** 0.85
    bow = 1.0 - lips.bow * np.exp(-((r / 0.13) ** 2)) + 0.35 * lips.bow * np.exp(-(((r - 0.24) / 0.13) ** 2))
    return np.float32(lips.upper) * arch * bow


def lower_height(lips: Lips, x: Float32[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    """Height of the lower lip's red part at x (0 outside the corners)."""
    r = np.minimum(np.abs(x) / np.float32(lips.half_width), 1.0)
    return np.float32(lips.lower) * (1.0 - r**2.2) ** 0.8


def vermilion(
    identity: Identity, canvas: Canvas
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Soft masks in [0, 1] of the red of the upper and of the lower lip (closed mouth)."""
    lips = identity.lips
    edge = np.float32(lips.edge)
    wobble = 0.15 * edge * value_noise((identity.noise_seed, 11), canvas.x, canvas.y, 60)
    up = lip_line(lips, canvas.x) - canvas.y + wobble
    inside = smoothstep(1.06, 0.94, np.abs(canvas.x) / np.float32(lips.half_width))
    upper = smoothstep(edge, -edge, up - upper_height(lips, canvas.x)) * (up >= 0) * inside
    lower = smoothstep(1.3 * edge, -1.3 * edge, -up - lower_height(lips, canvas.x)) * (up < 0) * inside
    return upper, lower


def _nose(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    s = identity.shape
    tip = np.float32(s.nose_y)
    ramp = np.clip((canvas.y - 0.30) / (tip - 0.30), 0, 1)
    under = smoothstep(tip + 0.075, tip + 0.01, canvas.y)
    ridge = (0.024 + 0.085 * ramp**1.3) * under * smoothstep(0.24, 0.38, canvas.y)
    across = np.exp(-((canvas.x / ((0.036 + 0.032 * ramp) * s.nose_width)) ** 2))
    wing = 0.094 * s.nose_width
    return np.float32(s.nose_height) * (
        ridge * across
        + 0.060 * blob(canvas, 0, tip, 0.044 * s.nose_width, 0.036)
        + 0.055 * mirrored(canvas, wing, tip + 0.026, 0.028, 0.030)
        + 0.014 * blob(canvas, 0, tip + 0.065, 0.014, 0.03)
    )


def _folds(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    s, side = identity.shape, np.abs(canvas.x)
    # Nasolabial fold: from the wing of the nose down and out past the corner of the mouth.
    along = np.clip((canvas.y - 0.575) / 0.26, 0, 1)
    curve = 0.115 * s.nose_width + 0.115 * along**1.15
    strength = smoothstep(0.0, 0.12, along) * smoothstep(1.0, 0.55, along)
    off = side - curve
    fold = strength * (
        -0.010 * np.exp(-((off / 0.014) ** 2)) + 0.013 * np.exp(-(((off - 0.045) / 0.045) ** 2))
    )
    # Marionette lines run down from the corners in older faces.
    low = np.clip((canvas.y - identity.lips.y) / 0.16, 0, 1)
    off = side - (identity.lips.half_width + 0.012 + 0.018 * low)
    marionette = -0.006 * s.age * np.exp(-((off / 0.016) ** 2)) * low * (1 - low) * 4
    lines = (
        0.0035 * s.age * np.sin(canvas.y * 75 + 2.2 * np.cos(canvas.x * 6)) * smoothstep(0.19, 0.05, canvas.y)
    )
    crow = value_noise((identity.noise_seed, 21), canvas.x * 0.4, canvas.y, (8, 34))
    crow = -0.002 * s.age * np.abs(crow) * mirrored(canvas, 0.34, 0.38, 0.05, 0.06)
    return np.float32(s.fold) * fold + marionette + lines * smoothstep(0.42, 0.2, side) + crow


def _mouth_relief(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    lips = identity.lips
    up = lip_line(lips, canvas.x) - canvas.y
    high = upper_height(lips, canvas.x) + 0.004
    low = lower_height(lips, canvas.x) + 0.004
    inside = smoothstep(1.1, 0.7, np.abs(canvas.x) / np.float32(lips.half_width))
    upper = np.where(up > 0, np.sin(np.pi * np.clip(up / (1.35 * high), 0, 1) ** 0.8), 0)
    lower = np.where(up < 0, np.sin(np.pi * np.clip(-up / (1.25 * low), 0, 1) ** 0.75), 0)
    groove = np.exp(-((up / 0.008) ** 2)) * smoothstep(1.12, 0.9, np.abs(canvas.x) / lips.half_width)
    chin = identity.shape.chin_y
    return (
        0.045 * identity.shape.muzzle * blob(canvas, 0, 0.77, 0.15, 0.11)
        + inside * (0.40 * lips.upper * upper + 0.50 * lips.lower * lower)
        - 0.010 * groove
        - 0.020 * blob(canvas, 0, lips.y + lips.lower + 0.040, 0.085, 0.020)
        + 0.030 * blob(canvas, 0, chin - 0.08, 0.075 * identity.shape.chin_width, 0.045)
        - 0.007 * blob(canvas, 0, 0.688, 0.014, 0.03)
        + 0.005 * mirrored(canvas, 0.03, 0.695, 0.012, 0.03)
        - 0.010 * mirrored(canvas, lips.half_width + 0.018, lips.y + 0.006, 0.016, 0.02)
    )


def height_field(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    """Height of the head towards the camera in face units; 0 on and outside the outline."""
    s = identity.shape
    f, _ = outline(identity, canvas)
    inside = np.clip(1.0 - np.minimum(f, 1.0) ** 2.6, 0, 1)
    dome = np.float32(s.depth) * inside**0.62
    features = (
        _nose(identity, canvas)
        + _folds(identity, canvas)
        + _mouth_relief(identity, canvas)
        + 0.022 * s.brow_ridge * mirrored(canvas, 0.17, 0.275, 0.10, 0.035)
        - 0.064 * mirrored(canvas, s.eye_x - 0.01, s.eye_y, 0.095, 0.052)
        - 0.026 * mirrored(canvas, 0.085, s.eye_y - 0.02, 0.03, 0.05)
        + 0.034 * mirrored(canvas, s.eye_x, s.eye_y, 0.062, 0.046)
        + 0.036 * s.cheek * mirrored(canvas, 0.25, 0.53, 0.085, 0.08)
        - 0.025 * (1.4 - s.cheek) * mirrored(canvas, 0.27, 0.72, 0.07, 0.09)
        + 0.005 * value_noise((identity.noise_seed, 22), canvas.x, canvas.y, 7)
    )
    return (dome + features * smoothstep(0.0, 0.25, inside)).astype(np.float32)


def soften(image: np.ndarray, sigma: float, canvas: Canvas) -> np.ndarray:
    """Gaussian blur with sigma in face units."""
    pixels = sigma * canvas.pixels_per_unit
    if pixels < 0.2:
        return image
    return cv2.GaussianBlur(image, (0, 0), pixels, borderType=cv2.BORDER_REPLICATE)
