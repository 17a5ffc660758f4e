"""Intervals by resampling clips."""

import numpy as np
import pytest

from lipforcing_jax.evaluation.interval import interval


def test_the_interval_holds_the_mean_and_shrinks_with_talkers():
    few = interval([0.0, 1.0] * 4)
    many = interval([0.0, 1.0] * 64)
    for found in (few, many):
        assert found.low < found.mean == 0.5 < found.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_the_interval_is_that_of_the_mean():
    """Within a tenth of 1.96 standard errors."""
    sample = np.random.default_rng(1).normal(3, 2, 400)
    found = interval(sample)
    half = 1.96 * sample.std() / 20
    assert found.mean == pytest.approx(sample.mean())
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


def test_every_step_has_the_interval_that_it_has_alone():
    sample = np.random.default_rng(2).normal(size=(40, 3))
    together = interval(sample)
    for step in range(3):
        alone = interval(sample[:, step])
        assert together.mean[step] == pytest.approx(alone.mean)
        assert together.low[step] == pytest.approx(alone.low, abs=0.03)
        assert together.high[step] == pytest.approx(alone.high, abs=0.03)


def test_one_clip_tells_nothing_of_others():
    found = interval([3.0])
    assert found.mean == found.low == found.high == 3.0 and found.record() == {"mean": 3.0, "low": 3.0, "high": 3.0}
