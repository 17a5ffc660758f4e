"""Every student and the teacher on the same held-out talkers: pictures, openings, and Sync-C."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.evaluation import opening, sync
from lipforcing_jax.evaluation.eval_talkers import Talker, correlation, make_talker, psnr
from lipforcing_jax.evaluation.image_metrics import ssim
from lipforcing_jax.evaluation.opening import OpeningEstimator
from lipforcing_jax.models.syncnet import SyncNet

Row = dict[str, float]


class Jury(NamedTuple):
    """What measures results: the opening estimator and the SyncNet."""

    estimator: OpeningEstimator
    net: SyncNet


class Cast:
    """The held-out talkers, drawn once and kept in a folder: an identity, a motion and three sentences each."""

    def __init__(self, folder: Path, first: int, count: int, frames: int, size: int):
        self.folder, self.first, self.count, self.frames, self.size = folder, first, count, frames, size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Talker]:
        self.folder.mkdir(parents=True, exist_ok=True)
        engines = available_engines()
        for seed in range(self.first, self.first + self.count):
            yield self._one(seed, engines)

    def _one(self, seed: int, engines) -> Talker:
        path = self.folder / f"{seed}_{self.frames}.npz"
        if not path.exists():
            talker = make_talker(seed, self.size, "heldout", engines, self.frames)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez(file, **talker._asdict())
            partial.replace(path)
        with np.load(path) as stored:
            return Talker(**{name: stored[name] for name in Talker._fields})


def judge(jury: Jury, talker: Talker, made: np.ndarray) -> Row:
    """What is measured of one result: likeness of the mouth to the truth, its opening, and its fit to the sound."""
    rows, columns = opening.mouth_box(talker.source.shape[1])
    mouth = lambda frames: frames[:, rows, columns]  # noqa: E731
    opened = lambda frames: opening.estimate(jury.estimator, frames, talker.source)  # noqa: E731
    scores = sync.compare(jury.net, made, sync.cepstra_of(talker.audio)[None])
    likeness = np.mean([ssim(a, b) for a, b in zip(mouth(made)[::4], mouth(talker.truth)[::4], strict=True)])
    return {
        "psnr": psnr(mouth(made), mouth(talker.truth)),
        "ssim": float(likeness),
        "opening": correlation(opened(made), opened(talker.truth)),
        "copied": correlation(opened(made), opened(talker.source)),
        "sync_c": float(scores.confidence[0]),
        "sync_d": float(scores.distance[0]),
    }


def judged(path: Path, jury: Jury, cast: Cast, make: Callable[[Talker], np.ndarray]) -> list[Row]:
    """One row per talker; kept in `path`, and taken from there where they are complete."""
    if path.exists():
        rows = json.loads(path.read_text())
        if len(rows) == len(cast):
            return rows
    rows = [judge(jury, talker, make(talker)) for talker in tqdm(cast, total=len(cast), desc=path.stem)]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(rows, indent=1) + "\n")
    partial.replace(path)
    return rows
