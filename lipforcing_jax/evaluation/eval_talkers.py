"""`lipforcing eval-talkers`: does the student speak? Measured on talkers, voices and sentences never trained on.

A clip of a drawn talker is driven with the sound of another one; the truth is the same face, motion and camera rendered
with that sound's mouth. Everything happens in aligned pictures, as the student sees and draws them.
"""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lipforcing_jax.data.articulation import MouthStyle
from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.data.speech_samples import sample_utterance
from lipforcing_jax.data.talkers import render_clip
from lipforcing_jax.evaluation import opening
from lipforcing_jax.evaluation.interval import interval
from lipforcing_jax.evaluation.rivals import Rival, Student
from lipforcing_jax.listening import listener_for
from lipforcing_jax.media.comparison import contact_sheet, difference_frame, write_picture
from lipforcing_jax.media.mouth_mask import soft_mask
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.weights import networks as weight_files

FRAMES = 81
FIT_CLIPS = 160
ELSEWHERE = 10_000_000
"""Between the seed of a clip and that of the one that stands in for it."""


class Talker(NamedTuple):
    """One cross-driven clip: the source, the sound that drives it, and what it should look like."""

    source: np.ndarray
    truth: np.ndarray
    closed: np.ndarray
    audio: np.ndarray
    other_audio: np.ndarray


def spoken(seed: int, split: str, seconds: float, engines) -> tuple[np.ndarray, np.ndarray]:
    """Sound and mouth of a clip in which somebody speaks: of `seed`, or, if that is one of the silent ones, of another.

    A mouth that rests throughout correlates with nothing, so a driving sound must not be silent.
    """
    for other in itertools.count(seed, ELSEWHERE):
        audio, phones, mouth = sample_utterance(other, split, seconds, engines=engines, style=MouthStyle())
        if any(phone.label not in ("pau", "breath") for phone in phones):
            return audio, mouth


def make_talker(seed: int, size: int, split: str, engines, frames: int = FRAMES) -> Talker:
    """Source, driving sound and truth of one held-out identity; three different sentences."""
    said = [spoken(900_000 + 3 * seed + k, split, frames / 25, engines) for k in range(3)]

    def draw(mouth):
        return render_clip(seed, seed, mouth, size=size, camera_seed=seed, split="heldout")

    return Talker(
        draw(said[0][1]), draw(said[1][1]), draw(np.tile(silent_mouth(), (frames, 1))), said[1][0], said[2][0]
    )


def silent_mouth() -> np.ndarray:
    """Parameters of a closed, relaxed mouth, as the articulation model gives them for silence."""
    from lipforcing_jax.data.articulation import mouth_track
    from lipforcing_jax.data.phones import Phone

    return mouth_track((Phone("pau", 0.0, 2.0),), 50, 25, MouthStyle())[25]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pictures."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 where a series stands still."""
    if a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def measure(student: Rival, estimator, talker: Talker) -> tuple[dict[str, float], np.ndarray]:
    """All numbers of one talker, and its driven frames."""
    rows, columns = opening.mouth_box(talker.source.shape[1])
    mouth = lambda frames: frames[:, rows, columns]  # noqa: E731
    opened = lambda frames: opening.estimate(estimator, frames, talker.source)  # noqa: E731
    driven, shuffled = student(talker.source, talker.audio), student(talker.source, talker.other_audio)
    silent = student(talker.source, np.zeros_like(talker.audio))
    kept = soft_mask(talker.source.shape[1]) > 0.999
    truth = opened(talker.truth)
    numbers = {
        "psnr_source": psnr(mouth(talker.source), mouth(talker.truth)),
        "psnr_driven": psnr(mouth(driven), mouth(talker.truth)),
        "psnr_shuffled": psnr(mouth(shuffled), mouth(talker.truth)),
        "opening_source": correlation(opened(talker.source), truth),
        "opening_driven": correlation(opened(driven), truth),
        "opening_shuffled": correlation(opened(shuffled), truth),
        "opening_copied": correlation(opened(driven), opened(talker.source)),
        "opening_spread": float(opened(driven).std() / max(truth.std(), 1e-6)),
        "silence_opening": float(opened(silent)[12:].mean() - opened(talker.closed).mean()),
        "outside_change": float(np.abs(driven[:, kept].astype(int) - talker.source[:, kept]).max()),
    }
    return numbers, driven


def fit_estimator(size: int, engines, count: int = FIT_CLIPS) -> opening.OpeningEstimator:
    """The opening estimator, fitted on `count` identities of the training split.

    Of each every second frame is drawn: neighbours tell less than another face.
    """
    clips = []
    for seed in tqdm(range(count), desc="fitting the opening estimator"):
        mouth = sample_utterance(seed, "train", 40 / 25, engines=engines, style=MouthStyle())[2][::2]
        clips.append((render_clip(seed, seed, mouth, size=size, camera_seed=seed), mouth[:, 1]))
    return opening.fit(clips)


def evaluate(preset: Preset, folder: Path | None, talkers: int, out: Path, seed: int = 0) -> dict[str, dict]:
    """Measures `talkers` held-out clips; writes talkers.json and talkers.png into `out`."""
    engines = available_engines()
    loaded = weight_files.load(preset, folder)
    student = Student(loaded.preset, loaded.networks, listener_for(loaded.preset, loaded.wav2vec2), seed)
    estimator = fit_estimator(preset.face_size, engines)
    rows, pictures = [], []
    for index in tqdm(range(talkers), desc="talkers"):
        talker = make_talker(index, preset.face_size, "heldout", engines)
        numbers, driven = measure(student, estimator, talker)
        rows.append(numbers)
        if index < 6:
            shown = range(6, FRAMES, 11)
            pictures += [[clip[i] for i in shown] for clip in (talker.source, talker.truth, driven)]
            pictures.append([difference_frame(talker.truth[i], driven[i]) for i in shown])
    summary = {name: interval([r[name] for r in rows]).record() for name in rows[0]}
    out.mkdir(parents=True, exist_ok=True)
    (out / "talkers.json").write_text(json.dumps({"summary": summary, "talkers": rows}, indent=1) + "\n")
    labels = ["source", "truth", "result", "difference"] * (len(pictures) // 4)
    sheet = contact_sheet(pictures, labels)
    write_picture(out / "talkers.png", sheet)
    return summary


def table(summary: dict[str, dict]) -> str:
    """The summary as Markdown."""
    lines = ["| measure | mean | 95 % interval |", "|---|---|---|"]
    lines += [f"| {n} | {v['mean']:.3f} | {v['low']:.3f} to {v['high']:.3f} |" for n, v in summary.items()]
    return "\n".join(lines)
