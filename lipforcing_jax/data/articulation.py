"""From phones to mouth movement: dominance functions, explicit closures, loudness, breath.

Every phone has a target for each mouth parameter and a strength with which it insists on it. Around its
segment the strength decays exponentially; the mouth is the strength-weighted mean of all targets (Cohen and
Massaro, "Modeling coarticulation in synthetic visual speech", 1993). Lip closures are not left to the mean:
they gate the opening, so that m, b, p really close and do so quickly. Evaluated at 100 Hz and averaged over
each video frame's interval [i / fps, (i + 1) / fps).

What real talkers do, and rule-driven mouths do not: the mouth opens to breathe in between phrases, and closes
only when the speaker rests; most of the variance is slower than 2 Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter1d

from lipforcing_jax.data.phones import BILABIALS, DIPHTHONGS, LABIODENTALS, VOWELS, Phone, nearest

COLUMNS = ("jaw", "opening", "width", "rounding", "teeth", "tongue")
RATE = 100  # internal samples per second
SAMPLE_RATE = 16_000

# label: (jaw, opening, width, rounding, teeth, tongue), strength of (opening, shape); opening at a full,
# stressed style, before its own rounding and tongue change it (`_style`).
_TARGETS: dict[str, tuple[tuple[float, ...], tuple[float, float]]] = {
    "aa": ((0.95, 0.88, 0.50, 0.05, 0.25, 0.05), (1.0, 0.7)),
    "ae": ((0.85, 0.80, 0.70, 0.00, 0.45, 0.10), (1.0, 0.8)),
    "ah": ((0.60, 0.58, 0.52, 0.05, 0.35, 0.10), (0.8, 0.5)),
    "ao": ((0.72, 0.66, 0.28, 0.55, 0.10, 0.05), (1.0, 0.9)),
    "ax": ((0.40, 0.42, 0.50, 0.10, 0.35, 0.15), (0.4, 0.3)),
    "eh": ((0.62, 0.60, 0.68, 0.00, 0.50, 0.15), (0.9, 0.7)),
    "er": ((0.34, 0.32, 0.38, 0.40, 0.30, 0.15), (0.8, 0.7)),
    "ih": ((0.40, 0.44, 0.66, 0.00, 0.50, 0.20), (0.7, 0.6)),
    "iy": ((0.28, 0.38, 0.85, 0.00, 0.55, 0.25), (0.9, 1.0)),
    "uh": ((0.38, 0.36, 0.32, 0.50, 0.15, 0.10), (0.7, 0.8)),
    "uw": ((0.26, 0.15, 0.10, 0.95, 0.05, 0.05), (1.1, 1.2)),
    "b": ((0.15, 0.00, 0.48, 0.10, 0.00, 0.00), (0.7, 0.4)),
    "p": ((0.15, 0.00, 0.48, 0.10, 0.00, 0.00), (0.7, 0.4)),
    "m": ((0.15, 0.00, 0.50, 0.05, 0.00, 0.00), (0.7, 0.4)),
    "f": ((0.20, 0.14, 0.52, 0.05, 0.90, 0.00), (1.2, 0.6)),
    "v": ((0.20, 0.14, 0.52, 0.05, 0.85, 0.00), (1.1, 0.6)),
    "th": ((0.30, 0.30, 0.55, 0.00, 0.60, 1.00), (0.7, 0.4)),
    "dh": ((0.30, 0.30, 0.52, 0.00, 0.50, 0.85), (0.5, 0.3)),
    "t": ((0.25, 0.32, 0.58, 0.00, 0.60, 0.60), (0.4, 0.3)),
    "d": ((0.25, 0.32, 0.56, 0.00, 0.55, 0.60), (0.4, 0.3)),
    "n": ((0.25, 0.30, 0.56, 0.00, 0.50, 0.65), (0.4, 0.3)),
    "s": ((0.12, 0.28, 0.68, 0.00, 0.90, 0.15), (0.8, 0.6)),
    "z": ((0.12, 0.28, 0.66, 0.00, 0.85, 0.15), (0.8, 0.6)),
    "sh": ((0.18, 0.32, 0.28, 0.65, 0.80, 0.10), (0.8, 0.9)),
    "zh": ((0.18, 0.32, 0.28, 0.65, 0.75, 0.10), (0.8, 0.9)),
    "ch": ((0.18, 0.30, 0.30, 0.60, 0.80, 0.15), (0.8, 0.9)),
    "jh": ((0.18, 0.30, 0.30, 0.60, 0.75, 0.15), (0.8, 0.9)),
    "k": ((0.35, 0.40, 0.52, 0.00, 0.35, 0.10), (0.25, 0.15)),
    "g": ((0.35, 0.38, 0.52, 0.00, 0.35, 0.10), (0.25, 0.15)),
    "ng": ((0.35, 0.38, 0.54, 0.00, 0.35, 0.10), (0.3, 0.15)),
    "hh": ((0.45, 0.45, 0.52, 0.05, 0.30, 0.05), (0.15, 0.05)),
    "l": ((0.40, 0.42, 0.54, 0.00, 0.40, 0.90), (0.5, 0.3)),
    "r": ((0.28, 0.22, 0.34, 0.50, 0.25, 0.20), (0.6, 0.7)),
    "w": ((0.20, 0.08, 0.08, 1.00, 0.00, 0.00), (1.1, 1.2)),
    "y": ((0.25, 0.32, 0.72, 0.00, 0.50, 0.25), (0.6, 0.6)),
    "pau": ((0.04, 0.02, 0.50, 0.00, 0.00, 0.00), (0.8, 0.5)),
    "breath": ((0.68, 0.80, 0.48, 0.10, 0.20, 0.10), (1.0, 0.5)),
}
# How long before and after its segment a phone is still felt, seconds: opening is quick, shape is slow.
_REACH_BEFORE = np.array([0.060, 0.055, 0.095, 0.110, 0.050, 0.040])
_REACH_AFTER = np.array([0.055, 0.050, 0.080, 0.080, 0.045, 0.040])
_REST = np.array([0.04, 0.02, 0.50, 0.00, 0.00, 0.00])
_NEUTRAL_WIDTH = 0.5
# How much of the opening lips at their roundest, and the tongue at its highest, take away, and by how much all mouths
# open wider for it, so that the mean stays (docs/experiments.md, "Rounded lips").
_ROUNDED, _TONGUE, _WIDER = 0.8, 0.4, 1.3


@dataclass(frozen=True)
class MouthStyle:
    """How one speaker articulates. All factors are 1 for an average, clear speaker.

    Attributes:
        scale: size of jaw and lip opening (0.4 mumbles, 1.4 shows every vowel).
        shape: size of width and rounding movements.
        reach: length of coarticulation; larger is smoother and slower.
        stress: how much loudness enlarges a vowel (0 not at all).
        breath: how wide the mouth opens to breathe in.
        parted: opening, in [0, 0.15], at which the lips stay in speech and in short silences.
        lead: seconds by which the lips run ahead of the sound; contact of the lips keeps its time.
    """

    scale: float = 1.0
    shape: float = 1.0
    reach: float = 1.0
    stress: float = 1.0
    breath: float = 1.0
    parted: float = 0.0
    lead: float = 0.045


def random_style(rng: np.random.Generator) -> MouthStyle:
    """A speaker's style drawn from `rng`; the spread is that of measured talkers."""
    return MouthStyle(
        scale=float(np.clip(np.exp(rng.normal(-0.25, 0.35)), 0.4, 1.4)),
        shape=float(rng.uniform(0.6, 1.3)),
        reach=float(np.exp(rng.normal(0.1, 0.25))),
        stress=float(rng.uniform(0.6, 1.6)),
        breath=float(rng.uniform(0.5, 1.25)),
        parted=float(max(0.0, rng.normal(0.02, 0.03))),
        lead=float(rng.uniform(0.02, 0.07)),
    )


def loudness(audio: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "m"]:
    """Root mean square of 16 kHz audio in 40 ms windows, at 100 Hz."""
    power = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    centres = np.arange(len(audio) * RATE // SAMPLE_RATE) * (SAMPLE_RATE // RATE) + SAMPLE_RATE // RATE // 2
    lower, upper = np.clip(centres - 320, 0, len(audio)), np.clip(centres + 320, 0, len(audio))
    return np.sqrt((power[upper] - power[lower]) / np.maximum(upper - lower, 1)).astype(np.float32)


def _stress(phones: Sequence[Phone], audio: Float32[np.ndarray, "n"] | None, amount: float) -> np.ndarray:
    """Factor on each phone's opening: a vowel louder or longer than this utterance's usual one opens
    wider."""
    factor = np.ones(len(phones))
    vowels = [i for i, phone in enumerate(phones) if phone.label in VOWELS]
    if not vowels:
        return factor
    durations = np.array([phones[i].end - phones[i].start for i in vowels])
    change = 0.15 * np.log(durations / max(np.median(durations), 0.02) + 1e-3)
    if audio is not None and len(audio) >= SAMPLE_RATE // RATE:
        level = loudness(audio)
        spans = [(int(phones[i].start * RATE), int(phones[i].end * RATE) + 1) for i in vowels]
        peaks = np.array([level[a:b].max() if a < len(level) and b > 0 else 0.0 for a, b in spans])
        decibels = 20.0 * np.log10(peaks + 1e-5)
        change = change + 0.03 * np.clip(decibels - np.median(decibels), -14.0, 9.0)
    factor[vowels] = np.clip(np.exp(amount * change), 0.5, 1.5)
    return factor


def _expand(phones: Sequence[Phone]) -> tuple[list[Phone], list[int]]:
    """Diphthongs cut into their two halves; the second list says which phone each part came from."""
    parts, origin = [], []
    for i, phone in enumerate(phones):
        label = phone.label if phone.label in _TARGETS or phone.label in DIPHTHONGS else nearest(phone.label)
        if label in DIPHTHONGS:
            first, second = DIPHTHONGS[label]
            middle = phone.start + 0.55 * (phone.end - phone.start)
            parts += [Phone(first, phone.start, middle), Phone(second, middle, phone.end)]
            origin += [i, i]
        else:
            parts.append(Phone(label, phone.start, phone.end))
            origin.append(i)
    return parts, origin


def _strengths(parts: Sequence[Phone]) -> np.ndarray:
    """[n, 2] insistence on (opening, shape); a short silence hardly counts, a long one wins."""
    strengths = np.array([_TARGETS[p.label][1] for p in parts])
    for i, part in enumerate(parts):
        if part.label in ("pau", "breath"):
            strengths[i] *= np.clip((part.end - part.start - 0.06) / 0.15, 0.05, 1.0)
    return strengths


def _blend(
    times: np.ndarray, parts: Sequence[Phone], targets: np.ndarray, strengths: np.ndarray, reach: float
) -> np.ndarray:
    """[t, 6] strength-weighted mean of the targets at `times`, in blocks so that cost grows linearly."""
    starts, ends = np.array([p.start for p in parts]), np.array([p.end for p in parts])
    per_column = strengths[:, [0, 0, 1, 1, 0, 0]]
    out = np.empty((len(times), len(_REST)))
    for begin in range(0, len(times), 256):
        t = times[begin : begin + 256]
        near = np.flatnonzero((ends > t[0] - 1.0) & (starts < t[-1] + 1.0))
        before = np.maximum(starts[near] - t[:, None], 0.0)[..., None] / (reach * _REACH_BEFORE)
        after = np.maximum(t[:, None] - ends[near], 0.0)[..., None] / (reach * _REACH_AFTER)
        weight = per_column[near] * np.exp(-before - after)
        total = weight.sum(1) + 1e-4
        out[begin : begin + 256] = ((weight * targets[near]).sum(1) + 1e-4 * _REST) / total
    return out


def _gate(times: np.ndarray, spans: list[tuple[float, float]], close: float, release: float) -> np.ndarray:
    """[t] in [0, 1]: 1 inside the spans, with raised-cosine flanks of `close` seconds before, `release`
    after."""
    gate = np.zeros(len(times))
    for start, end in spans:
        a, b = np.searchsorted(times, (start - close, end + release))
        t = times[a:b]
        rise = np.clip((t - (start - close)) / close, 0, 1)
        fall = np.clip((end + release - t) / release, 0, 1)
        gate[a:b] = np.maximum(gate[a:b], 0.5 - 0.5 * np.cos(np.pi * np.minimum(rise, fall)))
    return gate


def _closure_spans(parts: Sequence[Phone], labels: frozenset[str]) -> list[tuple[float, float]]:
    """When the lips touch. A plosive's segment ends with its burst, which is already open."""
    hold = {"m": 0.95, "b": 0.80, "p": 0.65, "f": 0.85, "v": 0.85}
    spans = []
    for part in parts:
        if part.label in labels:
            end = part.start + max(hold[part.label] * (part.end - part.start), 0.02)
            spans.append((part.start + 0.005, max(end, part.start + 0.025)))
    return spans


def mouth_track(
    phones: Sequence[Phone],
    frames: int,
    fps: float = 25.0,
    style: MouthStyle | None = None,
    audio: Float32[np.ndarray, "n"] | None = None,
) -> Float32[np.ndarray, "frames 6"]:
    """The mouth parameters of every video frame.

    Args:
        phones: in order of time; unknown labels count as their nearest class, gaps as silence.
        frames: how many frames to give.
        fps: frames per second; frame i shows the interval [i / fps, (i + 1) / fps).
        style: the speaker; `None` is the average one.
        audio: 16 kHz samples from which loudness is read; `None` leaves out that part of stress.
    Returns:
        Columns (jaw, opening, width, rounding, teeth, tongue) in [0, 1]; width 0.5 is neutral.
    Raises:
        ValueError: a negative number of frames or a rate that is not positive.
    """
    if frames < 0 or fps <= 0:
        raise ValueError(f"frames must be at least 0 and fps positive, not {frames} and {fps}")
    style = style or MouthStyle()
    samples = int(np.ceil(frames / fps * RATE)) + 1
    times = (np.arange(samples) + 0.5) / RATE
    if not phones or not frames:
        return np.tile(_REST.astype(np.float32), (frames, 1))
    parts, origin = _expand(phones)
    targets = np.array([_TARGETS[p.label][0] for p in parts])
    stress = _stress(phones, audio, style.stress)[origin]
    breath = np.array([style.breath if p.label == "breath" else 1.0 for p in parts])
    targets[:, :2] *= (stress * breath)[:, None]
    ahead = times + style.lead
    track = _blend(ahead, parts, targets, _strengths(parts), style.reach)
    track = gaussian_filter1d(track, 1.5 * style.reach, axis=0, mode="nearest")
    # Contact makes the sound, so it can hardly run ahead of it.
    contact = times + min(style.lead, 0.01)
    lips = _gate(contact, _closure_spans(parts, BILABIALS), 0.05, 0.045)
    bite = _gate(contact, _closure_spans(parts, LABIODENTALS), 0.05, 0.05)
    track = _style(track, style)
    track[:, 1] = track[:, 1] * (1 - lips) * (1 - 0.7 * bite)
    track[:, 4] = np.maximum(track[:, 4] * (1 - lips), 0.9 * bite) * np.clip(track[:, 1] / 0.08, 0.0, 1.0)
    track[:, 5] *= (1 - lips) * np.clip(track[:, 1] / 0.12, 0.0, 1.0)
    return _to_frames(track, frames, fps)


def _style(track: np.ndarray, style: MouthStyle) -> np.ndarray:
    """The speaker's size of movement. Rounded lips open less than spread ones, and a tongue that touches the palate
    needs a raised jaw; openings saturate softly towards 1."""
    track = track.copy()
    track[:, 2] = _NEUTRAL_WIDTH + style.shape * (track[:, 2] - _NEUTRAL_WIDTH)
    track[:, 3] *= style.shape
    track[:, 1] *= _WIDER * np.clip(1 - _ROUNDED * track[:, 3] - _TONGUE * track[:, 5], 0.2, 1.0)
    size = np.array([0.5 + 0.5 * style.scale, style.scale])
    wide = track[:, :2] * size + style.parted
    track[:, :2] = np.where(wide > 0.8, 0.8 + 0.2 * np.tanh((wide - 0.8) / 0.2), wide)
    return track


def _to_frames(track: np.ndarray, frames: int, fps: float) -> Float32[np.ndarray, "frames 6"]:
    """Mean over each frame's interval, exactly, from the running integral."""
    integral = np.concatenate([np.zeros((1, track.shape[1])), np.cumsum(track, axis=0)])
    edges = np.clip(np.arange(frames + 1) / fps * RATE, 0, len(track))
    low = np.minimum(edges.astype(int), len(track) - 1)
    at_edges = integral[low] + (edges - low)[:, None] * track[low]
    mean = np.diff(at_edges, axis=0) / (RATE / fps)
    return np.clip(mean, 0.0, 1.0).astype(np.float32)
