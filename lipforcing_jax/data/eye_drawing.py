"""Eyes: aperture between the lids, eyeball, lashes and the lid's crease, drawn over the portrait."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.identity import Identity
from lipforcing_jax.data.noise import smoothstep


def paint_eye(
    identity: Identity,
    colors: Float32[np.ndarray, "4 3"],
    face: Float32[np.ndarray, "h w 3"],
    x: Float32[np.ndarray, "h w"],
    y: Float32[np.ndarray, "h w"],
    right: bool,
    blink: float,
    gaze: tuple[float, float],
    pixel: float,
) -> Float32[np.ndarray, "h w 3"]:
    """Draws one eye over `face` at expression-space positions (x, y).

    `colors` rows: sclera, iris, pupil, lash. `blink` 0 is open, 1 closed; `gaze` is the iris's offset in
    face units.
    """
    eyes, shape = identity.eyes, identity.shape
    sign = 1.0 if right else -1.0
    dx = (x - np.float32(sign * shape.eye_x)) * np.float32(sign)
    u = dx / np.float32(eyes.width)
    inside = np.clip(1.0 - u * u, 0.0, 1.0)
    base = np.float32(shape.eye_y) - np.float32(eyes.tilt) * u
    open_height = eyes.open * (1.0 - blink) - 0.75 * eyes.lower_lid * blink
    skew = 1.0 - 0.25 * u
    top = base - np.float32(open_height) * inside**0.75 * skew
    low = base + np.float32(eyes.lower_lid) * inside**0.9
    half = np.float32(0.6 * pixel)
    cover = np.clip((np.minimum(low, y + half) - np.maximum(top, y - half)) / (2 * half), 0, 1) * (
        np.abs(u) < 1
    )
    soft = np.float32(max(pixel, 0.004))
    centre_y = np.float32(shape.eye_y - 0.35 * (eyes.open - eyes.lower_lid) + gaze[1])
    distance = np.hypot(x - np.float32(sign * shape.eye_x + gaze[0]), y - centre_y) / np.float32(
        eyes.iris_radius
    )
    sclera, iris, pupil, lash = colors
    shade = (0.42 + 0.58 * smoothstep(0.0, 0.024, y - top)) * (0.72 + 0.28 * inside)
    ball = sclera * shade[..., None]
    edge = soft / np.float32(eyes.iris_radius)
    in_iris = smoothstep(1 + edge, 1 - edge, distance)[..., None]
    ring = (1.0 - 0.55 * smoothstep(0.7, 1.0, distance))[..., None]
    ball = ball + in_iris * (iris * ring * (0.6 + 0.4 * shade[..., None]) - ball)
    ball = ball + smoothstep(0.42 + edge, 0.42 - edge, distance)[..., None] * (pupil - ball)
    light = np.sin(identity.light.azimuth) * 0.012
    spark = np.exp(
        -(((x - sign * shape.eye_x - gaze[0] - light) ** 2 + (y - centre_y + 0.010) ** 2) / 0.0055**2)
    )
    ball = ball + (0.75 * spark)[..., None] * (1.0 - ball)
    out = face + cover[..., None] * (ball - face)
    reach = smoothstep(1.12, 0.85, np.abs(u))
    thick = np.float32(0.006 + 0.005 * eyes.lashes)
    upper = 0.85 * np.exp(-(((y - top + 0.3 * thick) / max(thick, 0.8 * pixel)) ** 2)) * reach
    lower = 0.28 * np.exp(-(((y - low) / max(0.006, 0.8 * pixel)) ** 2)) * reach
    dark = np.clip(upper * (0.45 + 0.5 * eyes.lashes) + lower, 0, 0.92)
    out = out + dark[..., None] * (lash - out)
    crease_y = np.float32(shape.eye_y - eyes.open - 0.017) - eyes.tilt * u + 0.03 * u * u
    crease = np.exp(-(((y - crease_y) / 0.007) ** 2)) * smoothstep(1.15, 0.7, np.abs(u)) * (1 - 0.7 * blink)
    return out * (1 - (0.08 + 0.26 * eyes.crease) * crease)[..., None]
