"""Numbers by which a SyncNet is judged."""

import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax.data.articulation import MouthStyle
from lipforcing_jax.data.formant import FormantEngine
from lipforcing_jax.data.speech_samples import sample_utterance
from lipforcing_jax.data.talkers import render_clips
from lipforcing_jax.evaluation import sync
from lipforcing_jax.models import presets
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.weights import networks

FRAMES = 21


def test_shares_and_means_of_clips():
    truth = np.array([[2.0, 5.0, 0], [1.0, 6.0, 1], [0.5, 7.0, -3]])
    wrong = np.array([[1.0, 6.0, 4], [1.5, 5.0, 0], [0.2, 8.0, 0]])
    moved = np.array([[2.0, 5.0, -8], [1.0, 5.0, -7], [0.0, 5.0, 8]])
    found = sync.summary(truth, wrong, moved)
    assert found["truth_c"] == pytest.approx(3.5 / 3) and found["wrong_d"] == pytest.approx(19 / 3)
    assert found["truth_wins"] == pytest.approx(2 / 3) and found["truth_nearer"] == pytest.approx(2 / 3)
    assert found["offset_found"] == pytest.approx(2 / 3) and found["delay_found"] == pytest.approx(2 / 3)


def test_wrong_is_the_other_mouth_with_the_same_sound(monkeypatch):
    """The two rows that meet in a comparison share their sound, not their picture."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (2, 2, FRAMES, 64, 64, 3), np.uint8)
    audio = rng.uniform(-0.5, 0.5, (2, 2, (FRAMES + sync.DELAY) * SAMPLES_PER_FRAME)).astype(np.float32)
    net = tiny.judge().net
    seen = {}
    monkeypatch.setattr(sync, "summary", lambda truth, wrong, moved: seen.update(truth=truth, wrong=wrong, moved=moved))
    sync.measure(net, sync.Heard(levels, audio), FRAMES)
    for clip, (pair, side) in enumerate(np.ndindex(2, 2)):
        sound = audio[pair, side]
        own = sync.cepstra_of(sound[: FRAMES * SAMPLES_PER_FRAME])
        early = sync.cepstra_of(sound[sync.DELAY * SAMPLES_PER_FRAME :])
        for name, picture, heard in (("truth", side, own), ("wrong", 1 - side, own), ("moved", side, early)):
            expected = sync.compare(net, levels[pair, picture], np.stack([heard] * 3))
            assert seen[name][clip, 1] == pytest.approx(float(expected.distance[0]), rel=1e-4)


@pytest.mark.parametrize("seed", [1, 3])
def test_the_bundled_judge_knows_who_speaks(seed):
    """An identity and sentences that it was not trained on, by the voice that is always there.

    Both mouths move most of the time: of one that rests for half a clip nobody could tell the offset.
    """
    seconds = (81 + sync.DELAY) / 25
    said = [
        sample_utterance(2 * seed + k, "heldout", seconds, engines=(FormantEngine(),), style=MouthStyle())
        for k in (900_000, 900_001)
    ]
    mouths = np.stack([mouth[:81] for _, _, mouth in said])
    assert (np.ptp(mouths[:, :, 1].reshape(2, -1, 9), axis=2) > 0.1).mean(axis=1).min() > 0.7
    levels = render_clips(seed, seed, mouths, 128, seed, "heldout")
    audio = np.stack([sound for sound, _, _ in said])
    net = networks.load_sync_net(presets.by_name("nano"))
    found = sync.measure(net, sync.Heard(levels[None], audio[None]), 81)
    assert found["truth_wins"] == found["truth_nearer"] == found["offset_found"] == found["delay_found"] == 1
    assert found["truth_c"] > 2 * found["wrong_c"] > 0
