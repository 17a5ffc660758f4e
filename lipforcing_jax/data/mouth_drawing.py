"""The moving mouth: contours from mouth parameters, the skin's displacement, and teeth, tongue and cavity.

All of it works in expression space: face units of the frontal head, before head pose. The portrait shows
closed lips; every output position asks where in the portrait its skin was (inverse warp), once for the skin
above the opening and once for the skin below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.head_shape import lip_line
from lipforcing_jax.data.identity import Identity
from lipforcing_jax.data.noise import smoothstep

TOP, BOTTOM, SIDE = 0.60, 1.26, 0.47
"""Mouth movement is confined to TOP < y < BOTTOM and |x| < SIDE (face units); outside nothing moves."""

JAW, OPENING, WIDTH, ROUNDING, TEETH, TONGUE = range(6)
"""Columns of a mouth track."""


@dataclass(frozen=True)
class MouthPose:
    """One frame's mouth for one identity, in face units."""

    gap: float
    rise: float
    drop: float
    corner: float
    jaw: float
    stretch: float
    upper_scale: float
    lower_scale: float
    power: float
    spread: float
    teeth: float
    tongue: float


@dataclass(frozen=True)
class MouthField:
    """Where each output pixel's skin lies in the portrait, and the opening's contours.

    `upper` and `lower` stack portrait x and y for the skin above and below the opening; `top` and `bottom`
    are the heights of the inner lip contours over each pixel; `r` is the place between the corners (-1 ...
    1).
    """

    x: Float32[np.ndarray, "h w"]
    y_upper: Float32[np.ndarray, "h w"]
    y_lower: Float32[np.ndarray, "h w"]
    top: Float32[np.ndarray, "h w"]
    bottom: Float32[np.ndarray, "h w"]
    r: Float32[np.ndarray, "h w"]


def mouth_pose(identity: Identity, mouth: Float32[np.ndarray, " 6"]) -> MouthPose:
    """Turns mouth parameters in [0, 1] into this speaker's movement."""
    a, shape = identity.articulation, identity.shape
    jaw, opening, width, rounding, teeth, tongue = (float(v) for v in np.clip(mouth, 0.0, 1.0))
    gap = a.gap * opening
    jaw_drop = min(a.jaw * jaw, 1.225 - shape.chin_y)
    spread = 2.0 * (width - 0.5)
    rise = a.upper_share * gap * (1.0 + 0.5 * max(spread, 0.0))
    closed_drop = 0.30 * max(jaw_drop - 0.7 * gap, 0.0)
    side = (1.0 + a.widen * spread * (1.0 if spread > 0 else 0.8)) * (1.0 - a.pucker * rounding)
    side *= 1.0 - 0.08 * opening
    pressed = max(0.0, 1.0 - opening / 0.05)
    thin = 1.0 - 0.16 * max(spread, 0.0) - 0.12 * opening - 0.12 * pressed
    return MouthPose(
        gap=gap,
        rise=rise,
        drop=gap - rise,
        corner=0.28 * gap + closed_drop - 0.012 * max(spread, 0.0),
        jaw=jaw_drop,
        stretch=max(side, 0.64),
        upper_scale=thin + 0.25 * rounding,
        lower_scale=thin + 0.30 * rounding,
        power=2.1 + 0.9 * max(spread, 0.0) - 0.2 * rounding,
        spread=spread,
        teeth=teeth,
        tongue=tongue,
    )


def mouth_field(
    identity: Identity, pose: MouthPose, x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]
) -> MouthField:
    """Inverse warp and contours at positions (x, y) of expression space.

    Outside the region named by TOP, BOTTOM and SIDE both warps are exactly the identity.
    """
    lips = identity.lips
    side = np.abs(x)
    near = smoothstep(0.37, 0.10, side) * smoothstep(TOP, 0.72, y) * smoothstep(1.00, 0.86, y)
    source_x = x + np.float32(1.0 / pose.stretch - 1.0) * near * x
    r = source_x * np.float32(1.0 / lips.half_width)
    r2 = np.minimum(r * r, 1.0)
    arch = (1.0 - r2 ** np.float32(pose.power / 2)) ** np.float32(0.72)
    line = lip_line(lips, source_x)
    corner = (
        np.float32(pose.corner) * np.exp(-(((np.abs(r) - 1.0) / 0.55) ** 2)) * smoothstep(2.4, 1.4, np.abs(r))
    )
    skewed = 1.0 + np.float32(8.0 * identity.articulation.skew) * r * (r2 < 1.0)
    up = corner - np.float32(pose.rise) * arch
    down = corner + np.float32(pose.drop) * arch * skewed
    top, bottom = line + up, line + down
    above, below = top - y, y - bottom
    skip = np.float32(min(0.3 * pose.gap, 0.006)) * (r2 < 1.0)
    rim_up = np.exp(-((above / 0.055) ** 2)) * smoothstep(1.25, 0.9, np.abs(r)) * smoothstep(TOP, 0.70, y)
    y_upper = y - up * smoothstep(TOP, 0.73, y)
    y_upper = y_upper - (np.float32(1 / pose.upper_scale - 1) * above + skip) * rim_up
    chin = np.float32(identity.shape.chin_y + pose.jaw)
    jaw = np.float32(pose.jaw) * smoothstep(SIDE, 0.12, side)
    share = smoothstep(0.0, 0.15, below)
    fade = np.clip((BOTTOM - y) / (BOTTOM - np.minimum(chin, BOTTOM - 0.03)), 0.0, 1.0) * (side < SIDE)
    rim_low = np.exp(-((below / 0.065) ** 2)) * smoothstep(1.25, 0.9, np.abs(r)) * (y < BOTTOM)
    y_lower = y - (down + share * (jaw - down)) * fade
    y_lower = y_lower + (np.float32(1 / pose.lower_scale - 1) * below + skip) * rim_low * fade
    return MouthField(source_x, y_upper, y_lower, top, bottom, r)


def opening_coverage(field: MouthField, y: Float32[np.ndarray, "h w"], half_pixel: float) -> np.ndarray:
    """Share of each pixel that lies between the inner lip contours; exactly 0 everywhere when they touch."""
    h = np.float32(half_pixel)
    inside = np.minimum(field.bottom, y + h) - np.maximum(field.top, y - h)
    return np.clip(inside / (2 * h), 0.0, 1.0) * (np.abs(field.r) < 1.0)


def wet_rim(
    field: MouthField, pose: MouthPose, y: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Factor for the skin: an open mouth shows a darker, redder rim of its inner lips."""
    inside = smoothstep(1.05, 0.8, np.abs(field.r)) * np.float32(min(pose.gap / 0.04, 1.0))
    above, below = np.maximum(field.top - y, 0), np.maximum(y - field.bottom, 0)
    rim = 0.30 * np.exp(-((above / 0.008) ** 2)) * (below == 0) + 0.26 * np.exp(-((below / 0.012) ** 2)) * (
        above == 0
    )
    return 1.0 - (rim * inside)[..., None] * np.array([0.55, 1.0, 0.95], np.float32)


def _teeth_pattern(identity: Identity, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the row of teeth along x, and how much each tooth's edge recedes (face units)."""
    a = identity.articulation
    place = np.abs(x - np.float32(identity.shape.asymmetry)) / np.float32(a.teeth_width)
    # Incisors are widest; each next tooth looks narrower.
    place = place + 0.10 * place * place
    inside = place - np.floor(place)
    valley = np.minimum(inside, 1.0 - inside)
    gaps = 1.0 - np.float32(a.teeth_gaps) * np.exp(-((valley / 0.10) ** 2)) * np.where(place < 0.3, 0.6, 1.0)
    uneven = 0.0035 * (2 * inside - 1) ** 2 + 0.002 * np.sin(3.1 * np.floor(place) + identity.noise_seed % 7)
    return gaps, uneven


def paint_cavity(
    identity: Identity,
    pose: MouthPose,
    colors: Float32[np.ndarray, "4 3"],
    x: Float32[np.ndarray, " n"],
    y: Float32[np.ndarray, " n"],
    top: Float32[np.ndarray, " n"],
    bottom: Float32[np.ndarray, " n"],
    r: Float32[np.ndarray, " n"],
    pixel: float,
) -> Float32[np.ndarray, "n 3"]:
    """Colour of the inside of the mouth at positions inside the opening (display-referred RGB).

    `colors` rows: cavity, teeth, gums, tongue. `pixel` is the pixel's height in face units, for soft edges.
    """
    a = identity.articulation
    cavity, teeth_color, gums, tongue_color = colors
    soft = np.float32(max(pixel, 0.006))
    depth = y - top
    rest = bottom - y
    r2 = np.minimum(r * r, 1.0)
    color = cavity + (0.25 * np.clip(1 - rest / 0.05, 0, 1))[:, None] * (gums * 0.5 - cavity)
    # Tongue: a dome on the floor of the mouth; raised it comes forward and catches light.
    height = pose.gap * (0.20 + 0.20 * a.tongue + 0.40 * pose.tongue)
    dome = rest - np.float32(height) * (1.0 - 0.75 * r2)
    tongue = smoothstep(0.010 + soft, -0.010, dome) * np.float32(0.35 + 0.5 * pose.tongue)
    lit = (0.62 + 0.25 * smoothstep(0.03, 0.0, rest) + 0.20 * pose.tongue) * (1 - 0.3 * r2)
    color = color + tongue[:, None] * (tongue_color * lit[:, None] - color)
    lower = _lower_teeth(identity, pose, x, rest, r2, soft)
    color = color + lower[:, None] * (teeth_color * np.float32(0.72) - color)
    pattern, uneven = _teeth_pattern(identity, x)
    visible = np.float32(min(pose.teeth * a.teeth_length, 0.95 * pose.gap + 0.002))
    centre = np.float32(identity.lips.y + pose.corner * 0.04 - pose.rise)
    edge = centre + visible - 0.9 * x * x - uneven
    tooth = smoothstep(0.75 * soft, -0.75 * soft, y - edge) * smoothstep(0.0, 0.004, visible + 0 * y)
    shade = pattern * (1.0 - 0.55 * r2) * (0.52 + 0.48 * smoothstep(0.0, 0.028, depth + 0.004))
    color = color + (tooth * (1 - 0.5 * r2 * r2))[:, None] * (teeth_color * shade[:, None] - color)
    shadow = (0.60 + 0.40 * smoothstep(0.0, 0.014, depth)) * (0.75 + 0.25 * smoothstep(0.0, 0.010, rest))
    return color * (shadow * (1.0 - 0.35 * r2 * r2))[:, None]


def _lower_teeth(
    identity: Identity, pose: MouthPose, x: np.ndarray, rest: np.ndarray, r2: np.ndarray, soft: np.float32
) -> np.ndarray:
    """Coverage of the lower teeth, which follow the jaw behind the lower lip."""
    show = identity.articulation.lower_teeth * np.clip((pose.gap - 0.03) / 0.06, 0, 1)
    show *= 0.5 + 0.5 * max(pose.spread, 0.0)
    pattern, uneven = _teeth_pattern(identity, 1.5 * x)
    edge = np.float32(0.030 * show) - 0.5 * uneven - 1.2 * x * x
    return (
        smoothstep(-0.75 * soft, 0.75 * soft, edge - rest)
        * pattern
        * (1 - 0.8 * r2)
        * np.float32(show > 0.02)
    )
