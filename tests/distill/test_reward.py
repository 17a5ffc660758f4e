"""Rewards as weights, and Sync-C from latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax.distill import reward
from lipforcing_jax.distill.reward import RewardConfig, follow, no_rewards_yet, weigh
from lipforcing_jax.models.sync_distance import score, shift_distances
from lipforcing_jax.models.syncnet import prepare_frames, to_levels

REWARDS = np.array([0.4, -0.3, 1.1])
ALL = jnp.ones(3, bool)
FORMULAS = {
    "per_sample": lambda w, losses: jnp.mean(w * losses),
    "self_normalized": lambda w, losses: jnp.sum(w * losses) / (jnp.sum(w) + 1e-8),
    "legacy_batch_mean": lambda w, losses: jnp.mean(w) * jnp.mean(losses),
}


@pytest.mark.parametrize("mode", FORMULAS)
def test_factors_are_the_slopes_of_the_weighted_loss(mode):
    found = weigh(REWARDS, ALL, RewardConfig(mode=mode))
    expected = jax.grad(lambda losses: FORMULAS[mode](jnp.exp(2 * REWARDS), losses))(jnp.ones(3))
    np.testing.assert_allclose(found.factors, expected, rtol=1e-6)
    np.testing.assert_allclose(found.weights, np.exp(2 * REWARDS), rtol=1e-6)


@pytest.mark.parametrize("mode", FORMULAS)
def test_a_sample_that_is_not_kept_is_as_if_it_were_not_there(mode):
    cfg = RewardConfig(mode=mode, center=True)
    keep = jnp.asarray([True, False, True])
    found = weigh(jnp.asarray([0.4, jnp.nan, 1.1]), keep, cfg, no_rewards_yet())
    expected = weigh(REWARDS[[0, 2]], ALL[:2], cfg, no_rewards_yet())
    np.testing.assert_allclose(found.factors, np.insert(expected.factors, 1, 0), rtol=1e-6)
    assert float(found.mean.value) == float(expected.mean.value)


def test_the_running_mean_starts_with_the_first_rewards():
    mean = follow(no_rewards_yet(), REWARDS, jnp.zeros(3, bool))
    assert not mean.started
    mean = follow(mean, REWARDS, ALL)
    assert float(mean.value) == pytest.approx(0.4)
    assert float(follow(mean, REWARDS + 1, ALL).value) == pytest.approx(0.9 * 0.4 + 0.1 * 1.4)


def test_rewards_are_centred_first_and_clamped_then():
    cfg = RewardConfig(beta=1.0, center=True, clamp=(-0.5, 0.5))
    found = weigh(REWARDS, ALL, cfg, no_rewards_yet())
    np.testing.assert_allclose(found.weights, np.exp([0.0, -0.5, 0.5]), rtol=1e-6)


def test_what_cannot_be_weighed_is_refused():
    with pytest.raises(ValueError, match="running mean"):
        weigh(REWARDS, ALL, RewardConfig(center=True))
    with pytest.raises(ValueError, match="'loudest' is no way"):
        weigh(REWARDS, ALL, RewardConfig(mode="loudest"))


def test_scores_are_those_of_the_whole_clip():
    """Pictures drawn latent by latent give what the clip decoded at once gives, for each clip of the batch."""
    judge = tiny.judge()
    latents, cepstra = tiny.draw(1, 2, tiny.FRAMES, tiny.CELLS, tiny.CELLS, 4), tiny.cepstra()
    found = jax.jit(reward.sync_scores)(judge.vae, judge.net, latents, cepstra)

    @jax.jit
    def whole(latents, cepstra):
        pixels, _ = judge.vae.decode(latents[None])
        levels = to_levels(2 * pixels[0, 3:] - 1)
        faces = judge.net.embed_faces(prepare_frames(levels, judge.net.cfg))
        return score(shift_distances(faces, judge.net.embed_sound(cepstra)))

    assert reward.face_frames(judge.vae, latents[0], judge.net).shape == (4 * tiny.FRAMES - 3, 96, 96, 3)
    for i in range(2):
        expected = whole(latents[i], cepstra[i])
        assert float(found.confidence[i]) == pytest.approx(float(expected.confidence), rel=1e-3)
        assert float(found.distance[i]) == pytest.approx(float(expected.distance), rel=1e-4)
    assert float(abs(found.confidence[0] - found.confidence[1])) > 1e-3 * float(found.confidence[0])
