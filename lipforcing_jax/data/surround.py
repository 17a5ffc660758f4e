"""What is around the head: neck, ears, clothes and a background that stands still."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.hair import Layer
from lipforcing_jax.data.head_shape import Canvas, soften
from lipforcing_jax.data.identity import Identity
from lipforcing_jax.data.noise import fractal_noise, smoothstep, value_noise


def neck(identity: Identity, canvas: Canvas, f: np.ndarray) -> Layer:
    """Neck under the chin with the head's shadow on it."""
    half = identity.shape.neck + 0.5 * np.clip(canvas.y - 1.22, 0, 1) ** 1.5
    side = np.abs(canvas.x) / half
    alpha = smoothstep(1.02, 0.98, side) * smoothstep(0.5, 0.7, canvas.y)
    round_off = np.sqrt(np.clip(1 - np.minimum(side, 1) ** 2, 0, 1))
    under = np.exp(-np.clip(f - 1, 0, 3) / 0.14)
    tendons = 0.05 * fractal_noise((identity.noise_seed, 91), canvas.x, canvas.y * 0.3, 9, 3)
    shade = (0.45 + 0.45 * round_off) * (1 - 0.60 * under) + tendons
    color = np.asarray(identity.skin.color, np.float32) * np.clip(shade, 0.05, None)[..., None]
    return Layer(alpha.astype(np.float32), color.astype(np.float32), np.zeros_like(f))


def ears(identity: Identity, canvas: Canvas) -> Layer:
    """Both ears, partly behind the outline of the face."""
    x, y = 0.462 * identity.shape.width, 0.43
    side = (np.abs(canvas.x) - x) / 0.055
    high = (canvas.y - y - 0.2 * (np.abs(canvas.x) - x)) / 0.135
    radius = np.hypot(side, high)
    rim = np.exp(-(((radius - 0.8) / 0.16) ** 2)) - 0.9 * blob_polar(side + 0.3, high - 0.1)
    color = np.asarray(identity.skin.color, np.float32) * np.array([1.02, 0.86, 0.84], np.float32)
    color = color * np.clip(0.62 + 0.25 * rim, 0.15, 1.2)[..., None]
    return Layer(
        smoothstep(1.04, 0.96, radius).astype(np.float32), color.astype(np.float32), np.zeros_like(radius)
    )


def blob_polar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Hollow of the ear in its own normalised coordinates."""
    return np.exp(-((x / 0.4) ** 2) - (y / 0.5) ** 2)


def clothes(identity: Identity, canvas: Canvas) -> Layer:
    """Shoulders and one of four collars: round, V-neck with shirt, turtleneck, jacket over a shirt."""
    s, key = identity.surround, identity.noise_seed
    side = np.abs(canvas.x)
    shoulder = 1.30 + 0.30 * np.clip(side - 0.25, 0, 2) ** 1.2
    depth = {0: 0.10, 1: 0.42, 2: -0.16, 3: 0.30}[s.cloth_kind]
    throat = 1.26 + depth * np.clip(1 - side / 0.26, 0, 1) ** (0.6 if s.cloth_kind == 0 else 1.0)
    top = np.where(side < 0.27, throat, shoulder + 0.0)
    edge = 0.006 * value_noise((key, 94), canvas.x, canvas.y, 20)
    alpha = smoothstep(-0.008, 0.008, canvas.y - top + edge)
    folds = 0.20 * fractal_noise((key, 95), canvas.x * 1.6, canvas.y * 0.6, 4, 4)
    weave = 0.06 * value_noise((key, 96), canvas.x, canvas.y, 110)
    rim = -0.5 * np.exp(-(((canvas.y - top - 0.025) / 0.010) ** 2))
    stripes = 0.35 * np.sign(np.sin(canvas.y * 60)) if key % 5 == 0 else 0.0
    color = np.asarray(s.cloth, np.float32) * np.exp(folds + weave + rim + stripes)[..., None]
    if s.cloth_kind == 3:
        shirt = smoothstep(0.20, 0.18, side + 0.12 * (canvas.y - 1.3))[..., None]
        color = color * (1 - shirt) + shirt * np.float32(0.55) * np.exp(0.5 * folds)[..., None]
    return Layer(alpha.astype(np.float32), color.astype(np.float32), np.zeros_like(side))


def background(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w 3"]:
    """Linear colour behind the talker: plain, furniture-like boxes, foliage-like texture, or bokeh."""
    s = identity.surround
    rng = np.random.default_rng([identity.noise_seed, 97])
    first, second = np.asarray(s.background, np.float32), np.asarray(s.background_second, np.float32)
    slope = np.clip(0.5 + rng.uniform(-0.6, 0.6) * canvas.x + rng.uniform(-0.5, 0.5) * (canvas.y - 0.6), 0, 1)
    picture = first + 0.6 * slope[..., None] * (second - first)
    if s.background_kind == 1:
        for _ in range(14):
            x, y, w, h = (
                rng.uniform(-1.2, 1.2),
                rng.uniform(-0.8, 2.0),
                rng.uniform(0.05, 0.5),
                rng.uniform(0.05, 0.7),
            )
            box = (np.abs(canvas.x - x) < w) & (np.abs(canvas.y - y) < h)
            tint = second * rng.uniform(0.2, 1.8) * rng.uniform(0.6, 1.4, 3).astype(np.float32)
            picture = np.where(box[..., None], tint, picture)
    elif s.background_kind == 2:
        for index in range(3):
            leaf = fractal_noise((identity.noise_seed, 98, index), canvas.x, canvas.y, 5, 5, 0.75)
            picture = picture * np.exp(0.35 * leaf)[..., None]
    elif s.background_kind == 3:
        for _ in range(25):
            x, y, radius = rng.uniform(-1.2, 1.2), rng.uniform(-0.8, 2.0), rng.uniform(0.02, 0.12)
            disc = smoothstep(1.1, 0.9, np.hypot(canvas.x - x, canvas.y - y) / radius)[..., None]
            picture = picture + disc * rng.uniform(0.05, 0.5) * rng.uniform(0.5, 1.0, 3).astype(np.float32)
    sigma = 0.004 + 0.06 * s.background_blur**1.5
    return np.clip(soften(picture.astype(np.float32), sigma, canvas), 0.003, 1.5)


def lenses(identity: Identity, canvas: Canvas) -> Float32[np.ndarray, "h w 4"]:
    """Glasses as a display-referred layer over face and eyes: RGB and coverage."""
    g, shape = identity.glasses, identity.shape
    if g.kind == 0:
        return np.zeros((*canvas.x.shape, 4), np.float32)
    x, y = shape.eye_x + 0.008, shape.eye_y + 0.012
    side, high = (np.abs(canvas.x) - x) / g.width, (canvas.y - y) / g.height
    radius = (np.abs(side) ** g.roundness + np.abs(high) ** g.roundness) ** (1 / g.roundness)
    thick = {1: 0.030, 2: 0.085, 3: 0.012}[g.kind]
    rim = smoothstep(thick + 0.035, thick, np.abs(radius - 1.0))
    inner = x - g.width
    bridge = smoothstep(0.016, 0.008, np.abs(canvas.y - y + 0.020 - 0.25 * (inner**2 - canvas.x**2)))
    bridge = bridge * (np.abs(canvas.x) < inner)
    temple = smoothstep(0.013, 0.008, np.abs(canvas.y - y + 0.035)) * (np.abs(canvas.x) > x + g.width)
    frame = np.maximum(np.maximum(rim, bridge), temple * (np.abs(canvas.x) < 0.52))
    if g.kind == 3:
        frame = 0.55 * frame
    streak = value_noise((identity.noise_seed, 99), canvas.x + canvas.y, canvas.y, 4)
    glare = g.glare * np.clip(streak, 0, 1) * smoothstep(1.0, 0.95, radius) * 0.6
    tone = (
        np.asarray(g.color, np.float32) ** (1 / 2.2)
        * np.exp(0.25 * value_noise((identity.noise_seed, 100), canvas.x, canvas.y, 20))[..., None]
    )
    alpha = np.clip(frame + glare * (1 - frame), 0, 0.97)
    color = np.where(frame[..., None] > glare[..., None], tone, np.float32(0.85))
    layer = np.concatenate([np.clip(color, 0, 1), alpha[..., None]], axis=-1).astype(np.float32)
    return cv2.GaussianBlur(layer, (0, 0), max(0.3, 0.003 * canvas.pixels_per_unit))
