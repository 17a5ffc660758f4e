"""Claims are answered by paired differences, and bars by what was reached."""

import numpy as np
import pytest

from lipforcing_jax.reproduction.stages import STUDENTS, TRAININGS
from lipforcing_jax.reproduction.verdicts import CLAIMS, Claim, bars, decide

HIGHER = Claim("more is more", "a", "b", "sync_c")
LOWER = Claim("less is more", "a", "b", "sync_c", lower=True)


def rows(values, **others):
    return [{"sync_c": float(v)} | others for v in values]


@pytest.mark.parametrize("claim, answer", [(HIGHER, "holds"), (LOWER, "does not hold at this size")])
def test_a_small_difference_shows_where_talkers_are_paired(claim, answer):
    """Talkers differ by far more than the two rivals do on each of them."""
    talkers = np.random.default_rng(0).normal(0, 10, 64)
    verdict = decide(claim, {"a": rows(talkers + 0.1), "b": rows(talkers)})
    assert verdict.answer == answer
    assert verdict.difference.mean == pytest.approx(-0.1 if claim.lower else 0.1)


def test_noise_decides_nothing():
    noise = np.random.default_rng(0).normal(0, 1, (2, 64))
    assert decide(HIGHER, {"a": rows(noise[0]), "b": rows(noise[1])}).answer == "undecided"


def test_bars_compare_with_truth_and_teacher():
    results = {
        "student": rows([2.0, 2.4], psnr=28.0, opening=0.9),
        "truth": rows([2.0, 3.0]),
        "teacher_guided": rows([3.0, 3.0], psnr=29.5),
    }
    found = bars(results, "student", 20.0)
    assert [b.reached for b in found] == pytest.approx([0.9, 0.88, -1.5, 20.0])
    assert [b.met for b in found] == [True, True, False, True]


def test_every_rival_of_a_claim_is_made():
    rivals = {*STUDENTS, "teacher_guided", "teacher_plain"}
    assert {name for claim in CLAIMS for name in (claim.better, claim.worse)} <= rivals
    assert set(STUDENTS) <= {stage.name for stage in TRAININGS}
