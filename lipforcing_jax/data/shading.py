"""Light on a height field: wrapped diffuse with skin-like softness, cast shadows, occlusion and
highlights.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.head_shape import Canvas, soften
from lipforcing_jax.data.identity import Identity

_SCATTER = (0.018, 0.009, 0.005)
"""How far light spreads under skin for red, green and blue (face units, exaggerated for a soft look)."""


def normals(height: Float32[np.ndarray, "h w"], canvas: Canvas) -> Float32[np.ndarray, "h w 3"]:
    """Unit surface normals (x right, y down, z to the camera)."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) * np.float32(canvas.pixels_per_unit / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) * np.float32(canvas.pixels_per_unit / 8)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.stack([-slope_x / length, -slope_y / length, 1 / length], axis=-1)


def light_direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector to a light; azimuth 0 is the camera's side, positive to the right, elevation upwards."""
    return np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)],
        np.float32,
    )


def cast_shadow(height: Float32[np.ndarray, "h w"], canvas: Canvas, direction: np.ndarray) -> np.ndarray:
    """How much of the light reaches each point, in [0, 1], by marching 10 steps over the height field."""
    flat = float(np.hypot(direction[0], direction[1]))
    if flat < 0.05:
        return np.ones_like(height)
    blocked = np.zeros_like(height)
    rows, columns = height.shape
    for reach in np.geomspace(0.015, 0.35, 10):
        shift_x = direction[0] / flat * reach * canvas.pixels_per_unit
        shift_y = direction[1] / flat * reach * canvas.pixels_per_unit
        move = np.array([[1, 0, -shift_x], [0, 1, -shift_y]], np.float32)
        other = cv2.warpAffine(height, move, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        rise = other - (height + np.float32(reach * direction[2] / flat))
        blocked = np.maximum(blocked, np.clip(rise / np.float32(0.015 + 0.10 * reach), 0, 1))
    return 1.0 - soften(blocked, 0.008, canvas)


def occlusion(height: Float32[np.ndarray, "h w"], canvas: Canvas) -> Float32[np.ndarray, "h w"]:
    """Ambient light that reaches a point: hollows are darker, about [0.4, 1.1]."""
    value = np.ones_like(height)
    for sigma, gain in ((0.012, 9.0), (0.03, 6.0), (0.07, 3.0)):
        value += gain * np.clip(height - soften(height, sigma, canvas), -0.05, 0.012)
    return np.clip(value, 0.28, 1.10)


def illuminate(
    identity: Identity,
    height: Float32[np.ndarray, "h w"],
    fine: Float32[np.ndarray, "h w"],
    gloss: Float32[np.ndarray, "h w"],
    canvas: Canvas,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
    """Light on the head.

    Args:
      height: smooth surface; fine: pores and hairs, added for highlights and a little for shading; gloss:
      strength
        of the highlight per pixel.

    Returns:
      (diffuse, specular) in linear light; the picture is albedo * diffuse + specular.
    """
    light = identity.light
    smooth, rough = normals(height, canvas), normals(height + fine, canvas)
    mixed = 0.5 * smooth + 0.5 * rough
    ambient = occlusion(height, canvas)
    sky = 1.0 - light.ambient_up * 0.6 * mixed[..., 1]
    fill_direction = light_direction(-np.sign(light.azimuth) * 1.0, 0.15)
    key_direction = light_direction(light.azimuth, light.elevation)
    wrap = 0.15
    key = np.clip((mixed @ key_direction + wrap) / (1 + wrap), 0, None)
    lit = 1.0 - light.shadow * (1.0 - cast_shadow(height, canvas, key_direction))
    fill = np.clip((mixed @ fill_direction + 0.4) / 1.4, 0, None) * ambient
    ambient_color = 0.5 * np.asarray(light.fill_color, np.float32) + 0.3
    diffuse = (
        (1.10 - 0.85 * light.key) * (ambient * sky)[..., None] * ambient_color
        + 1.5
        * light.key
        * (key * lit * (0.5 + 0.5 * ambient))[..., None]
        * np.asarray(light.key_color, np.float32)
        + 1.2 * light.fill * fill[..., None] * np.asarray(light.fill_color, np.float32)
    )
    # Cameras balance the light on the face: keep a fifth of its tint.
    tint = diffuse.mean(axis=(0, 1))
    diffuse = diffuse * (tint.mean() / tint) ** 0.8
    diffuse = np.stack(
        [0.45 * diffuse[..., c] + 0.55 * soften(diffuse[..., c], _SCATTER[c], canvas) for c in range(3)],
        axis=-1,
    )
    power = identity.skin.roughness
    specular = np.zeros_like(diffuse)
    for direction, strength, color in (
        (key_direction, light.key * 1.2, light.key_color),
        (fill_direction, light.fill, light.fill_color),
        (light_direction(0.0, 0.9), 0.35 * light.ambient_up, light.fill_color),
    ):
        half = direction + np.array([0, 0, 1], np.float32)
        half /= np.linalg.norm(half)
        shine = strength * np.clip(rough @ half, 0, 1) ** power
        specular += (shine * gloss * ambient)[..., None] * np.asarray(color, np.float32)
    return diffuse.astype(np.float32), specular.astype(np.float32)
