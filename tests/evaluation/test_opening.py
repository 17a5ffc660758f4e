"""The estimator of mouth opening: fitted on some talkers, it reads others."""

import numpy as np
import pytest

from lipforcing_jax.data.talkers import render_clip
from lipforcing_jax.evaluation import opening
from lipforcing_jax.evaluation.eval_talkers import correlation, silent_mouth

SIZE, FRAMES = 64, 24


def clip(identity: int, split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A talker whose mouth opens and closes at its own pace, and how far."""
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    mouth = np.tile(silent_mouth(), (FRAMES, 1)).astype(np.float32)
    mouth[:, 1] = 0.3 + 0.3 * np.sin(phase[0] + np.arange(FRAMES) * (0.4 + 0.05 * phase[1]))
    mouth[:, 0] = 0.8 * mouth[:, 1]
    return render_clip(identity, identity, mouth, size=SIZE, camera_seed=identity, split=split), mouth[:, 1]


@pytest.fixture(scope="module")
def estimator():
    return opening.fit([clip(i, "train", i) for i in range(12)])


@pytest.mark.parametrize("identity", [0, 1, 2])
def test_reads_talkers_it_was_not_fitted_on(estimator, identity):
    frames, truth = clip(identity, "heldout", 100 + identity)
    assert correlation(opening.estimate(estimator, frames, frames), truth) > 0.7


def test_light_and_exposure_hardly_change_what_is_read(estimator):
    """The same talker at a third of the light opens as far as in full light, and as far as its colours say."""
    frames, truth = clip(0, "heldout", 100)
    dim = np.round(frames / 3).astype(np.uint8)
    bright, dark = (opening.estimate(estimator, f, f) for f in (frames, dim))
    assert correlation(dark, truth) > 0.7 and 0.6 < dark.std() / bright.std() < 1.1


def test_a_still_mouth_has_no_opening(estimator):
    frames, _ = clip(0, "heldout", 1)
    still = np.repeat(frames[:1], FRAMES, axis=0)
    assert np.ptp(opening.estimate(estimator, still, still)) < 1e-6


def test_the_box_holds_the_mouth():
    """What speech moves lies in the box; cheeks and neck outside of it move far less."""
    rows, columns = opening.mouth_box(SIZE)
    frames, _ = clip(3, "train", 3)
    closed = render_clip(3, 3, np.tile(silent_mouth(), (FRAMES, 1)), size=SIZE, camera_seed=3)
    change = np.abs(frames.astype(int) - closed).sum(axis=(0, 3)).astype(float)
    inside = np.zeros(change.shape, bool)
    inside[rows, columns] = True
    assert change[inside].mean() > 5 * change[~inside].mean()
