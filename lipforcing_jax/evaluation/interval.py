"""Means with 95 % intervals, by resampling what was measured on each clip."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

DRAWS = 4000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval; arrays where there are several means."""

    mean: Float[np.ndarray, "*s"] | float
    low: Float[np.ndarray, "*s"] | float
    high: Float[np.ndarray, "*s"] | float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"

    def record(self) -> dict[str, float | list]:
        """As JSON has it."""
        return {name: np.asarray(value).tolist() for name, value in self._asdict().items()}


def interval(values: Float[np.ndarray, "clips *s"]) -> Interval:
    """The mean over the first axis and its percentile bootstrap; of a single clip the interval is the mean itself."""
    sample = np.asarray(values, float)
    mean = sample.mean(axis=0)
    if len(sample) == 1:
        return Interval(mean, mean, mean)
    found = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=DRAWS, axis=0, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(mean, found.low, found.high)
