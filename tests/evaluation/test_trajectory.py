"""The trajectory analysis on numbers whose answer is known, and its jumps beside the sampler."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax import flow
from lipforcing_jax.evaluation import trade_off, trajectory
from lipforcing_jax.evaluation.eval_talkers import Talker
from lipforcing_jax.evaluation.opening import CELLS, OpeningEstimator
from lipforcing_jax.evaluation.rivals import Seen
from lipforcing_jax.evaluation.trajectory import MEASURES, SCALES, Study
from lipforcing_jax.sampling import bidirectional
from lipforcing_jax.sampling.bidirectional import Guidance, Prompt

STUDY = Study(steps=10, stride=2, landings=(4, 6))


def numbers(value: float) -> dict[str, float]:
    return dict.fromkeys(MEASURES, value)


def row(clip: int, gains: list[float]) -> dict:
    """A clip of its own level; guidance adds `gains` at the judged steps."""
    place = [{"landing": t, "first": a, "second": b} for t in (0.9, 0.8) for a in SCALES for b in SCALES]
    return {
        "trajectories": {"1.0": [numbers(clip) for _ in gains], "4.5": [numbers(clip + g) for g in gains]},
        "factorial": [at | numbers(clip + at["landing"]) for at in place],
        "truth": numbers(9.0), "source": numbers(clip - 1.0),
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    """Four clips that differ widely, with gains that differ little: at step 2 against guidance, at 4 to 8 for it."""
    return [row(10 * clip, [0.0, -1.0, 1.0 + 0.1 * clip, 2.0, 3.0, 0.0]) for clip in range(4)]


def test_judged_steps_are_a_stride_apart_and_end_with_the_last():
    assert STUDY.judged == [0, 2, 4, 6, 8, 9]
    assert STUDY.ladder[0] == flow.MAX_T and STUDY.ladder[-1] == 0


def test_the_default_landings_are_levels_of_the_paper():
    ladder = Study().ladder
    np.testing.assert_allclose([ladder[25], ladder[30]], [0.833, 0.769], atol=5e-4)
    np.testing.assert_allclose([ladder[20], ladder[40]], [0.882, 0.556], atol=5e-4)
    assert {25, 30} <= set(Study().landings)


def test_differences_between_clips_do_not_hide_a_gain(rows):
    """Clips lie tens apart and gains are about one: only the paired difference shows them."""
    found = trajectory.summarise(rows, STUDY)
    levels = [STUDY.ladder[i] for i in STUDY.judged]
    assert found["band"]["found"]
    assert (found["band"]["high"], found["band"]["low"]) == (levels[2], levels[4])
    assert found["band"]["gains"]["sync_c"] == pytest.approx((1.15 + 2 + 3) / 3)
    assert found["gain"]["psnr"]["mean"] == pytest.approx([0, -1, 1.15, 2, 3, 0])


def test_the_band_is_compared_with_the_papers_window(rows):
    found = trajectory.summarise(rows, STUDY)["band"]
    assert found["inside_window"] == 1, "steps 4, 6 and 8 of 10 are steps 20, 30 and 40 of 50"
    assert found["window_covered"] == 1


def test_no_gain_is_no_band():
    flat = [row(clip, [0.0, -1.0, 0.0, -2.0, 0.0, 0.0]) for clip in range(4)]
    assert trajectory.summarise(flat, STUDY)["band"] == {"found": False}


def test_the_longest_run_is_found():
    assert trajectory.longest_run(np.array([1, 0, 1, 1, 0, 1, 1], bool)) == (2, 2)
    assert trajectory.longest_run(np.zeros(3, bool)) == (0, 0)
    assert trajectory.longest_run(np.ones(3, bool)) == (0, 3)


def test_the_factorial_keeps_its_places(rows):
    found = trajectory.summarise(rows, STUDY)["factorial"]
    assert len(found) == 2 * len(SCALES) ** 2
    assert (found[1]["first"], found[1]["second"]) == (1.0, 4.5)
    assert found[-1]["psnr"]["mean"] == pytest.approx(15 + 0.8)
    assert found[-1]["psnr"]["low"] < 15.8 < found[-1]["psnr"]["high"]


def test_the_figures_are_pictures(rows, tmp_path):
    summary = trajectory.summarise(rows, STUDY)
    for draw in (trade_off.trajectories, trade_off.factorial):
        path = draw(summary, tmp_path / "figures" / f"{draw.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_run_goes_on_where_it_was(rows, tmp_path, monkeypatch):
    """Clips that are there are not measured again, and a broken one leaves nothing."""
    asked = []

    def measure(teacher, examiner, talker, study, seed):
        asked.append(talker)
        if talker == 2:
            raise KeyboardInterrupt
        return rows[talker]

    monkeypatch.setattr(trajectory, "measure", measure)
    talkers = [(i, lambda i=i: i) for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        trajectory.run(None, None, talkers, tmp_path, STUDY)
    monkeypatch.setattr(trajectory, "measure", lambda teacher, examiner, talker, study, seed: rows[talker])
    assert trajectory.run(None, None, talkers, tmp_path, STUDY) == rows
    assert asked == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture(scope="module")
def teacher():
    """A tiny network, a clip as it sees it, and noise."""
    base, part = tiny.network()
    model, condition = base.join(part), jax.tree.map(lambda a: a[:1], tiny.condition()[:-1])
    told = type(tiny.condition())(*condition, tiny.condition().mask)
    prompt = Prompt(model.text_keys(told.text), model.text_keys(jnp.zeros_like(told.text)), told.audio)
    seen = Seen(told.channels(), prompt, told.ref_sequence, told.masked_video)
    return model, seen, tiny.draw(5, *told.ref_sequence.shape)


def test_two_jumps_are_the_samplers_two_steps(teacher):
    model, seen, noise = teacher
    found = list(trajectory.landings(model, noise, seen, STUDY._replace(landings=(4,))))
    landing = float(STUDY.ladder[4])
    assert [(at["first"], at["second"]) for at, _ in found] == [(1.0, 1.0), (1.0, 4.5), (4.5, 1.0), (4.5, 4.5)]
    # Guidance in one step of two, by a window that holds only its level.
    windows = {(1.0, 4.5): (landing, landing), (4.5, 1.0): (flow.MAX_T, flow.MAX_T)}
    schedule = np.array([flow.MAX_T, landing, 0.0])
    for at, x0 in found[1:3]:
        guidance = Guidance(4.5, window=windows[at["first"], at["second"]])
        sample = jax.jit(partial(bidirectional.sample, guidance=guidance, schedule=schedule))
        expected, _ = sample(model, noise, seen.condition, seen.prompt)
        np.testing.assert_allclose(x0, expected, atol=2e-4)
    assert float(jnp.abs(found[1][1] - found[2][1]).max()) > 0.01


def test_the_truth_is_judged_to_be_perfect():
    rng = np.random.default_rng(0)
    source, truth = rng.integers(0, 256, (2, 81, 32, 32, 3), np.uint8)
    sound = rng.standard_normal(81 * 640).astype(np.float32) * 0.1
    estimator = OpeningEstimator(rng.standard_normal(3 * CELLS**2))
    examiner = trajectory.Examiner(tiny.judge().net, estimator)
    talker = Talker(source, truth, source, sound, sound)
    perfect, other = examiner(talker, truth), examiner(talker, source)
    assert set(perfect) == set(MEASURES)
    assert perfect["ssim"] == pytest.approx(1) and perfect["opening"] == pytest.approx(1) and perfect["psnr"] > 100
    assert other["psnr"] < 10 and other["ssim"] < 0.2 and abs(other["opening"]) < 0.5
    assert perfect["sync_d"] != other["sync_d"]
