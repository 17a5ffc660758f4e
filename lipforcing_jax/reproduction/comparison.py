"""Every student and the teacher on the same held-out talkers: pictures, openings, and Sync-C."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.evaluation import opening
from lipforcing_jax.evaluation.eval_talkers import Talker, correlation, make_talker
from lipforcing_jax.evaluation.trajectory import Examiner
from lipforcing_jax.weights import store
from lipforcing_jax.whole_file import written_whole

Row = dict[str, float]


@dataclass(frozen=True)
class Cast:
    """The held-out talkers, drawn once and kept in a folder: an identity, a motion and three sentences each.

    They are those of `count` seeds from `first` on, clips of `frames` aligned frames of `size` pixels.
    """

    folder: Path
    first: int
    count: int
    frames: int
    size: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Talker]:
        return (make() for _, make in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Callable[[], Talker]]]:
        """Seeds, and how the talkers are got."""
        engines = available_engines()
        for seed in range(self.first, self.first + self.count):
            yield seed, partial(self._one, seed, engines)

    def _one(self, seed: int, engines) -> Talker:
        path = self.folder / f"{seed}_{self.frames}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            talker = make_talker(seed, self.size, "heldout", engines, self.frames)
            with written_whole(path) as growing, growing.open("wb") as file:
                np.savez(file, **talker._asdict())
        with np.load(path) as stored:
            return Talker(**{name: stored[name] for name in Talker._fields})


def row_of(examiner: Examiner, talker: Talker, made: np.ndarray) -> Row:
    """The examiner's numbers, and how much of the source's mouth was copied."""
    opened, shown = (opening.estimate(examiner.estimator, frames, talker.source) for frames in (made, talker.source))
    return examiner(talker, made) | {"copied": correlation(opened, shown)}


def judged(
    path: Path, weights: list[Path], examiner: Examiner, cast: Cast, make: Callable[[Talker], np.ndarray]
) -> list[Row]:
    """One row per talker; kept in `path`, and taken from there while the talkers and `weights` are the same.

    Args:
      weights: files on which the rows depend: the rival's own, what all share, and the examiner's.
    """
    facts = {"weights": store.sha256(weights), "first": cast.first, "count": cast.count, "frames": cast.frames}
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["facts"] == facts:
            return kept["rows"]
    rows = [row_of(examiner, talker, make(talker)) for talker in tqdm(cast, total=len(cast), desc=path.stem)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as growing:
        growing.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")
    return rows
