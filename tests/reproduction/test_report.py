"""The report says what the numbers say."""

import cv2
import numpy as np
import pytest

from lipforcing_jax.evaluation.rivals import Speed
from lipforcing_jax.evaluation.trajectory import MEASURES
from lipforcing_jax.reproduction import report
from lipforcing_jax.reproduction.report import Findings
from lipforcing_jax.reproduction.stages import GOING_ON, SMALL, STUDENT, WHOLE


def rows(seed: int, better: float = 0.0):
    rng = np.random.default_rng(seed)
    return [{m: float(rng.normal(2 + better, 0.1)) for m in (*MEASURES, "copied")} for _ in range(8)]


def findings(folder, found: bool = True, size=WHOLE) -> Findings:
    """A student that is better than all others, and faster."""
    names = ("truth", "source", *size.students, "teacher_guided", "teacher_plain")
    results = {name: rows(i, better=float(name == STUDENT)) for i, name in enumerate(names)}
    gains = dict.fromkeys(MEASURES, 0.5)
    band = {"found": found, "high": 0.9, "low": 0.5, "gains": gains, "inside_window": 0.75, "window_covered": 1.0}
    place = {m: {"mean": 1.0, "low": 0.9, "high": 1.1} for m in MEASURES}
    cell = {"landing": 0.769, "first": 1.0, "second": 4.5} | place
    summary = {"clips": 3, "band": band if found else {"found": False}, "factorial": [cell]}
    for name in (report.SHEET, report.TRAJECTORIES, report.FACTORIAL):
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))
    speed = {STUDENT: Speed(200.0, 0.05, 900.0), "teacher_guided": Speed(4.0, 20.0, 5.0)}
    return Findings(size, results, speed, summary, {"teacher": 3600.0}, folder)


@pytest.fixture
def page(tmp_path):
    (tmp_path / "results").mkdir()
    report.write(findings(tmp_path / "results"), tmp_path / "out")
    return (tmp_path / "out" / report.NAME).read_text(), tmp_path / "out"


def test_every_figure_that_the_page_shows_is_there(page):
    text, folder = page
    shown = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(shown) == 4 and all((folder / name).stat().st_size > 50 for name in shown)
    assert not list(folder.glob("*.partial"))


def test_bars_claims_and_speed_are_told(page):
    text, _ = page
    assert "| throughput over the guided teacher's | 50.00 | 17.6 | met |" in text
    assert "50.0 times as many frames a second and begins 400 times as early" in text
    assert "alone is 180.0 times as fast" in text
    row = next(line for line in text.splitlines() if "The SyncNet reward raises Sync-C" in line)
    assert row.endswith("| holds |")
    opening = next(line for line in text.splitlines() if "mouth opening, correlation" in line)
    assert opening.endswith("| met |")


def test_a_band_that_was_not_found_is_not_claimed(tmp_path):
    found, missing = (report.trajectory_part(findings(tmp_path, here)) for here in (True, False))
    assert "from level 0.900 down to 0.500" in found and "75 %" in found
    assert "there is no sync-favouring band" in missing


def test_the_miniature_says_that_it_means_nothing(tmp_path):
    assert "mean nothing" in report.head(findings(tmp_path, size=SMALL))
    assert "mean nothing" not in report.head(findings(tmp_path))


def test_a_run_that_goes_on_from_weights_says_so(tmp_path):
    text = report.head(findings(tmp_path, size=GOING_ON))
    whole = report.page(findings(tmp_path, size=GOING_ON))
    assert "After stage 1 alone, landing" in whole and "landing 0.833" in whole
    assert "more fidelity than landing at 0.833" not in whole
    assert "did not begin from nothing" in text and "faces of seeds from 5200 on" in text
    assert "This run left out: SW-DMD + reward, landing 0.833." in whole and "mean nothing" not in text
    assert "from nothing" in report.head(findings(tmp_path)) and "--onward" not in report.head(findings(tmp_path))
