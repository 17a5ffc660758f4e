"""Claims of the paper as questions with answers: paired differences between rivals, with bootstrap intervals."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from lipforcing_jax.evaluation.interval import Interval, interval
from lipforcing_jax.reproduction.comparison import Row

Answer = Literal["holds", "does not hold at this size", "undecided"]


@dataclass(frozen=True)
class Claim:
    """`better` has a higher `measure` than `worse` on the same talkers; `lower` where less is better."""

    text: str
    better: str
    worse: str
    measure: str
    lower: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the talkers say: the mean difference in the claimed direction."""

    claim: Claim
    difference: Interval
    answer: Answer


CLAIMS = (
    Claim("Stage 2 brings the mouth nearer to the sound than stage 1 alone.", "sw_dmd_reward", "stage1", "sync_c"),
    Claim("Guidance in distribution matching brings synchrony.", "dmd_guided", "dmd_unguided", "sync_c"),
    Claim("Guidance everywhere costs fidelity.", "dmd_unguided", "dmd_guided", "psnr"),
    Claim("The sync window keeps the fidelity that guidance everywhere costs.", "sw_dmd", "dmd_guided", "psnr"),
    Claim("The sync window keeps the synchrony that guidance brings.", "sw_dmd", "dmd_unguided", "sync_c"),
    Claim("The SyncNet reward raises Sync-C further.", "sw_dmd_reward", "sw_dmd", "sync_c"),
    Claim("The reward lowers Sync-D.", "sw_dmd_reward", "sw_dmd", "sync_d", lower=True),
    Claim(
        "Landing at 0.769 gives more synchrony than landing at 0.833.", "sw_dmd_reward", "sw_dmd_reward_0833", "sync_c"
    ),
    Claim(
        "Landing at 0.769 gives more fidelity than landing at 0.833.", "sw_dmd_reward", "sw_dmd_reward_0833", "psnr"
    ),
    Claim("After stage 1 alone, landing at 0.769 gives more Sync-C than at 0.833.", "stage1", "stage1_0833", "sync_c"),
    Claim("The student synchronises like the guided teacher or better.", "sw_dmd_reward", "teacher_guided", "sync_c"),
)


def column(rows: list[Row], measure: str) -> Float[np.ndarray, " n"]:
    return np.array([row[measure] for row in rows])


def decide(claim: Claim, results: dict[str, list[Row]]) -> Verdict:
    """A claim holds where the whole interval of the paired differences is on its side of zero, and does not where it
    is on the other."""
    better, worse = (column(results[name], claim.measure) for name in (claim.better, claim.worse))
    found = interval((worse - better) if claim.lower else (better - worse))
    answer: Answer = "undecided"
    if found.low > 0:
        answer = "holds"
    elif found.high < 0:
        answer = "does not hold at this size"
    return Verdict(claim, found, answer)


@dataclass(frozen=True)
class Bar:
    """What the student has to reach, and what it reached."""

    text: str
    reached: float
    least: float

    @property
    def met(self) -> bool:
        return self.reached >= self.least


def bars(results: dict[str, list[Row]], student: str, ratio: float) -> list[Bar]:
    """The student's bars on held-out, cross-driven talkers. `ratio` is its throughput over the teacher's."""
    mean = lambda name, measure: float(column(results[name], measure).mean())  # noqa: E731
    return [
        Bar("mouth opening, correlation with the truth", mean(student, "opening"), 0.8),
        Bar("Sync-C over that of the rendered truth", mean(student, "sync_c") / mean("truth", "sync_c"), 0.85),
        Bar("mouth PSNR minus the guided teacher's, dB", mean(student, "psnr") - mean("teacher_guided", "psnr"), -1.0),
        Bar("throughput over the guided teacher's", ratio, 17.6),
    ]
