"""The traits of a synthetic talker: frozen records of numbers, without behaviour.

Lengths are in face units: the aligned crop is 1 unit wide and 4/3 units high (420 x 560 pixels in the
reference), x runs from -0.5 to 0.5 to the right, y from 0 at the top downwards. Angles are radians, colours
linear RGB.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadShape:
    """Proportions of head, nose and folds (face units; scale factors are around 1)."""

    width: float
    jaw: float
    chin_y: float
    chin_width: float
    depth: float
    forehead: float
    eye_x: float
    eye_y: float
    nose_y: float
    nose_width: float
    nose_height: float
    cheek: float
    brow_ridge: float
    muzzle: float
    age: float
    fold: float
    asymmetry: float
    neck: float


@dataclass(frozen=True)
class Lips:
    """The closed mouth: position, half width, vermilion heights, curves and colours."""

    y: float
    half_width: float
    upper: float
    lower: float
    bow: float
    smile: float
    tone: float
    redness: float
    darkness: float
    gloss: float
    edge: float
    crease: float


@dataclass(frozen=True)
class Articulation:
    """How this speaker moves: gains of the mouth parameters and what the open mouth shows."""

    gap: float
    jaw: float
    upper_share: float
    widen: float
    pucker: float
    skew: float
    teeth_length: float
    teeth_width: float
    teeth_tone: float
    teeth_gaps: float
    lower_teeth: float
    cavity: float
    tongue: float


@dataclass(frozen=True)
class Skin:
    """Albedo and its variation."""

    color: tuple[float, float, float]
    blotch: float
    pores: float
    freckles: float
    moles: int
    blush: float
    shine: float
    roughness: float
    eye_bags: float


@dataclass(frozen=True)
class Eyes:
    """Eyes and brows."""

    width: float
    open: float
    tilt: float
    lower_lid: float
    iris: tuple[float, float, float]
    iris_radius: float
    lashes: float
    crease: float
    brow_thickness: float
    brow_arch: float
    brow_density: float


@dataclass(frozen=True)
class Hair:
    """Head hair (style 0 bald, 1 short, 2 medium, 3 long, 4 cap) and beard."""

    style: int
    color: tuple[float, float, float]
    grey: float
    line: float
    volume: float
    fringe: float
    parting: float
    cover: float
    stubble: float
    beard: float
    moustache: float
    goatee: float
    beard_grey: float
    cap: tuple[float, float, float]


@dataclass(frozen=True)
class Glasses:
    """Glasses; kind 0 is none, 1 thin, 2 thick, 3 rimless."""

    kind: int
    width: float
    height: float
    roundness: float
    color: tuple[float, float, float]
    glare: float


@dataclass(frozen=True)
class Light:
    """Directional key and fill light over an ambient dome, and how the picture is exposed."""

    azimuth: float
    elevation: float
    key: float
    key_color: tuple[float, float, float]
    fill: float
    fill_color: tuple[float, float, float]
    ambient_up: float
    shadow: float
    exposure: float
    contrast: float
    saturation: float


@dataclass(frozen=True)
class Surround:
    """Clothes and background."""

    cloth: tuple[float, float, float]
    cloth_kind: int
    background_kind: int
    background: tuple[float, float, float]
    background_second: tuple[float, float, float]
    background_blur: float


@dataclass(frozen=True)
class Identity:
    """A talker. `noise_seed` feeds every texture, so that the record stays small and complete."""

    seed: int
    split: str
    noise_seed: int
    yaw: float
    pitch: float
    shape: HeadShape
    lips: Lips
    articulation: Articulation
    skin: Skin
    eyes: Eyes
    hair: Hair
    glasses: Glasses
    light: Light
    surround: Surround
