"""Who a synthetic talker is: draws the traits of a person, of the light and of the surroundings from a seed.

Proportions are spread around those of ordinary faces after the alignment of spec inference 2.2 (brows at
y = 0.27 face units, nose tip near 0.55, mouth near 0.79, chin near 1.09).
"""

from __future__ import annotations

import numpy as np

from lipforcing_jax.data.traits import (
    Articulation,
    Eyes,
    Glasses,
    Hair,
    HeadShape,
    Identity,
    Light,
    Lips,
    Skin,
    Surround,
)
from lipforcing_jax.errors import UserError

SPLITS = ("train", "heldout")
"""Names of the disjoint identity pools; the name is part of the random key, so pools never share an
identity.
"""

_SKIN_ANCHORS = (
    np.array(
        [
            [236, 205, 188],
            [228, 187, 163],
            [212, 166, 138],
            [189, 140, 108],
            [158, 109, 80],
            [122, 80, 58],
            [88, 57, 43],
        ],
        np.float64,
    )
    / 255.0
)
_HAIR_ANCHORS = (
    np.array(
        [
            [24, 20, 19],
            [45, 32, 25],
            [78, 52, 36],
            [120, 84, 54],
            [176, 138, 92],
            [124, 60, 34],
            [150, 146, 142],
        ],
        np.float64,
    )
    / 255.0
)
_IRIS_ANCHORS = (
    np.array([[60, 38, 24], [92, 64, 36], [104, 112, 70], [86, 118, 140], [110, 124, 128]]) / 255.0
)


def sample_identity(seed: int, split: str = "train") -> Identity:
    """Draws the talker number `seed` (>= 0) of a pool.

    The same arguments give the same record everywhere. Pools of different `split` share no identity, because
    the name is mixed into the random key.

    Raises:
      UserError: `split` is not one of SPLITS, or `seed` is negative.
    """
    if split not in SPLITS:
        raise UserError(f"Identity split '{split}' is unknown; use one of {', '.join(SPLITS)}.")
    if seed < 0:
        raise UserError(f"Identity seed {seed} is negative; use 0 or more.")
    rng = np.random.default_rng([SPLITS.index(split), int(seed), 7301])
    feminine = float(rng.random())
    age = float(np.clip(rng.beta(1.3, 1.8), 0, 1))
    tone = float(np.clip(rng.beta(0.9, 1.1), 0, 1))
    return Identity(
        seed=int(seed),
        split=split,
        noise_seed=int(rng.integers(2**31)),
        yaw=float(np.clip(rng.normal(0, 0.14), -0.4, 0.4)),
        pitch=float(np.clip(rng.normal(0, 0.09), -0.22, 0.22)),
        shape=_sample_shape(rng, feminine, age),
        lips=_sample_lips(rng, feminine, age, tone),
        articulation=_sample_articulation(rng),
        skin=_sample_skin(rng, tone, age),
        eyes=_sample_eyes(rng, feminine, tone),
        hair=_sample_hair(rng, feminine, age, tone),
        glasses=_sample_glasses(rng),
        light=_sample_light(rng, tone),
        surround=_sample_surround(rng),
    )


def _normal(rng: np.random.Generator, mean: float, sd: float, limit: float = 2.2) -> float:
    return float(mean + sd * np.clip(rng.standard_normal(), -limit, limit))


def _blend(anchors: np.ndarray, place: float) -> np.ndarray:
    """Piecewise linear colour at `place` in [0, 1] along anchors, as linear light."""
    scaled = place * (len(anchors) - 1)
    low = min(int(scaled), len(anchors) - 2)
    return (anchors[low] + (scaled - low) * (anchors[low + 1] - anchors[low])) ** 2.2


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in np.clip(values, 0.002, 1.0))
    return red, green, blue


def _random_color(
    rng: np.random.Generator, low: float = 0.02, high: float = 0.75
) -> tuple[float, float, float]:
    value = low + (high - low) * rng.random() ** 2.5
    tint = 1 + rng.normal(0, 0.06 + 0.45 * rng.random() ** 3, 3)
    return _triple(value * np.clip(tint, 0.2, 2.0))


def _sample_shape(rng: np.random.Generator, feminine: float, age: float) -> HeadShape:
    return HeadShape(
        width=_normal(rng, 1.0, 0.045),
        jaw=_normal(rng, 1.03 - 0.08 * feminine, 0.06),
        chin_y=_normal(rng, 1.085, 0.036),
        chin_width=_normal(rng, 1.0, 0.12),
        depth=_normal(rng, 0.46, 0.04),
        forehead=_normal(rng, 1.0, 0.06),
        eye_x=_normal(rng, 0.203, 0.009),
        eye_y=_normal(rng, 0.372, 0.014),
        nose_y=_normal(rng, 0.55, 0.014),
        nose_width=_normal(rng, 1.0, 0.14),
        nose_height=_normal(rng, 1.0, 0.18),
        cheek=_normal(rng, 1.0, 0.5),
        brow_ridge=_normal(rng, 1.25 - 0.8 * feminine, 0.3),
        muzzle=_normal(rng, 1.0, 0.35),
        age=age,
        fold=float(np.clip(0.15 + 0.75 * age + rng.normal(0, 0.25), 0, 1.3)),
        asymmetry=_normal(rng, 0.0, 0.006),
        neck=_normal(rng, 0.29 - 0.05 * feminine, 0.02),
    )


def _sample_lips(rng: np.random.Generator, feminine: float, age: float, tone: float) -> Lips:
    fullness = float(np.clip(rng.normal(1.0 + 0.15 * feminine + 0.25 * tone - 0.4 * age, 0.2), 0.45, 1.6))
    lipstick = rng.random() < 0.35 * feminine
    return Lips(
        y=_normal(rng, 0.790, 0.018),
        half_width=_normal(rng, 0.171, 0.014),
        upper=0.040 * fullness * _normal(rng, 1, 0.15),
        lower=0.063 * fullness * _normal(rng, 1, 0.15),
        bow=float(rng.uniform(0.05, 0.35)),
        smile=_normal(rng, 0.0, 0.010),
        tone=float(rng.uniform(0, 1)),
        redness=float(rng.uniform(0.5, 0.95)) if lipstick else float(rng.uniform(0.1, 0.6)),
        darkness=float(rng.uniform(0.5, 0.9)) if lipstick else float(rng.uniform(0.6, 1.0)),
        gloss=float(rng.uniform(0.0, 1.0) ** 1.5),
        edge=float(rng.uniform(0.004, 0.012)) if lipstick else float(rng.uniform(0.007, 0.020)),
        crease=float(rng.uniform(0.35, 1.0)),
    )


def _sample_articulation(rng: np.random.Generator) -> Articulation:
    return Articulation(
        gap=0.19 * float(rng.uniform(0.78, 1.22)),
        jaw=0.12 * float(rng.uniform(0.7, 1.2)),
        upper_share=float(rng.uniform(0.12, 0.32)),
        widen=float(rng.uniform(0.10, 0.22)),
        pucker=float(rng.uniform(0.18, 0.32)),
        skew=_normal(rng, 0.0, 0.010),
        teeth_length=float(rng.uniform(0.040, 0.080)),
        teeth_width=float(rng.uniform(0.034, 0.043)),
        teeth_tone=float(rng.uniform(0, 1)),
        teeth_gaps=float(rng.uniform(0.05, 0.5)),
        lower_teeth=float(np.clip(rng.normal(0.45, 0.45), 0, 1.2)),
        cavity=float(rng.uniform(0, 1)),
        tongue=float(rng.uniform(0, 1)),
    )


def _sample_skin(rng: np.random.Generator, tone: float, age: float) -> Skin:
    color = _blend(_SKIN_ANCHORS, tone) * (1 + rng.normal(0, 0.05, 3)) * rng.uniform(0.85, 1.1)
    return Skin(
        color=_triple(color),
        blotch=float(rng.uniform(0.02, 0.09)),
        pores=float(rng.uniform(0.2, 1.0) * (0.6 + 0.6 * age)),
        freckles=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.2 else 0.0,
        moles=int(rng.poisson(1.2)),
        blush=float(rng.uniform(0.0, 0.22) * (1.2 - tone)),
        shine=float(rng.uniform(0.1, 1.0) ** 1.3),
        roughness=float(rng.uniform(8, 40)),
        eye_bags=float(rng.uniform(0.0, 0.6) + 0.4 * age),
    )


def _sample_eyes(rng: np.random.Generator, feminine: float, tone: float) -> Eyes:
    iris = _IRIS_ANCHORS[min(int(rng.random() * (5.99 - 5 * tone)), 4)] * rng.uniform(0.7, 1.2)
    return Eyes(
        width=_normal(rng, 0.088, 0.005),
        open=float(rng.uniform(0.028, 0.046)),
        tilt=_normal(rng, 0.004, 0.005),
        lower_lid=float(rng.uniform(0.012, 0.021)),
        iris=_triple(iris**2.2),
        iris_radius=_normal(rng, 0.0335, 0.002),
        lashes=float(np.clip(0.35 + 0.6 * feminine + rng.normal(0, 0.2), 0.1, 1.2)),
        crease=float(rng.uniform(0.0, 1.0)),
        brow_thickness=float(np.clip(0.030 - 0.011 * feminine + rng.normal(0, 0.004), 0.010, 0.042)),
        brow_arch=float(rng.uniform(0.01, 0.04)),
        brow_density=float(rng.uniform(0.6, 1.1)),
    )


def _sample_hair(rng: np.random.Generator, feminine: float, age: float, tone: float) -> Hair:
    grey = float(np.clip((age - 0.45) * 2.2 * rng.random(), 0, 1))
    place = 0.35 * rng.random() if tone > 0.45 else rng.random()
    color = _blend(_HAIR_ANCHORS, place) * rng.uniform(0.6, 1.3)
    styles = np.array([0.10, 0.32, 0.16, 0.30, 0.12]) * np.array(
        [1.6 - 1.5 * feminine, 1.6 - 1.2 * feminine, 1.0, 0.15 + 1.7 * feminine, 1.0]
    )
    bearded = rng.random() < 0.75 * (1 - feminine) ** 0.7
    kind = int(rng.integers(4)) if bearded else -1
    return Hair(
        style=int(rng.choice(5, p=styles / styles.sum())),
        color=_triple(color + grey * (0.35 - color)),
        grey=grey,
        line=_normal(rng, 0.0, 0.04),
        volume=float(rng.uniform(0.02, 0.16)),
        fringe=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0,
        parting=float(rng.uniform(-0.3, 0.3)),
        cover=float(rng.uniform(-0.02, 0.09)),
        stubble=float(rng.uniform(0.15, 0.9)) if rng.random() < 0.7 * (1 - feminine) else 0.0,
        beard=float(rng.uniform(0.5, 1.0)) if kind in (0, 1) else 0.0,
        moustache=float(rng.uniform(0.45, 1.0)) if kind in (0, 1, 2, 3) and rng.random() < 0.85 else 0.0,
        goatee=float(rng.uniform(0.5, 1.0)) if kind == 2 else 0.0,
        beard_grey=float(np.clip(grey + rng.normal(0, 0.3), 0, 1)) if age > 0.4 else 0.0,
        cap=_random_color(rng),
    )


def _sample_glasses(rng: np.random.Generator) -> Glasses:
    kind = int(rng.integers(1, 4)) if rng.random() < 0.25 else 0
    dark = rng.random() < 0.7
    return Glasses(
        kind=kind,
        width=_normal(rng, 0.150, 0.012),
        height=_normal(rng, 0.095, 0.014),
        roundness=float(rng.uniform(2.2, 6.0)),
        color=_random_color(rng, 0.01, 0.08) if dark else _random_color(rng, 0.1, 0.5),
        glare=float(rng.uniform(0, 0.35)),
    )


def _sample_light(rng: np.random.Generator, tone: float) -> Light:
    warmth = rng.normal(0, 0.10)
    second = rng.normal(0, 0.14)
    return Light(
        azimuth=float(np.clip(rng.normal(0, 0.7), -1.35, 1.35)),
        elevation=float(rng.uniform(0.05, 1.0)),
        key=float(rng.uniform(0.4, 1.05)),
        key_color=_triple(0.7 * np.array([1 + warmth, 1.0, 1 - warmth])),
        fill=float(rng.uniform(0.0, 0.45)),
        fill_color=_triple(0.7 * np.array([1 + second, 1 + 0.3 * rng.normal(0, 0.1), 1 - second])),
        ambient_up=float(rng.uniform(0.1, 0.7)),
        shadow=float(rng.uniform(0.2, 0.9)),
        exposure=float(np.clip(rng.normal(0.60 - 0.24 * tone, 0.07), 0.22, 0.74)),
        contrast=float(rng.uniform(0.95, 1.35)),
        saturation=float(rng.uniform(0.7, 1.1)),
    )


def _sample_surround(rng: np.random.Generator) -> Surround:
    return Surround(
        cloth=_random_color(rng),
        cloth_kind=int(rng.integers(4)),
        background_kind=int(rng.integers(4)),
        background=_random_color(rng, 0.01, 0.9),
        background_second=_random_color(rng, 0.01, 0.9),
        background_blur=float(rng.uniform(0.0, 1.0)),
    )
