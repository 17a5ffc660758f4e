"""Diffusion forcing: what gives loss, what does not, and which window is used."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.distill import diffusion_forcing as df
from lipforcing_jax.distill.base import EVERYTHING, split
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT

CFG = replace(presets.by_name("nano").dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4, freq_dim=16, residual=False)
learn = jax.jit(
    jax.value_and_grad(df.loss, argnums=1, has_aux=True), static_argnames=("chunk", "t_list", "remat")
)  # fmt: skip


@pytest.fixture(scope="module")
def setting():
    base, params = split(drawn_network(lambda: DiT(CFG, rngs=nnx.Rngs(0))), EVERYTHING)
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)  # noqa: E731
    condition = Condition(
        text=jnp.zeros((2, CFG.text_len, CFG.text_dim)), audio=draw(5, 2, 6, 4 * CFG.audio_dim),
        ref_latent=draw(2, 2, 1, 4, 4, 16), masked_video=draw(3, 2, 6, 4, 4, 16), ref_sequence=draw(4, 2, 6, 4, 4, 16),
        mask=jnp.ones((4, 4)).at[2:].set(0.0),
    )  # fmt: skip
    return base, params, draw(1, 2, 6, 4, 4, 16), condition


def run(setting, t_list, keep_weight=1.0, remat=False):
    """Loss, metrics and gradients; one program for each `t_list`."""
    base, params, target, condition = setting
    masks = jnp.asarray(df.window_masks(6, 3))
    how = {"chunk": 3, "t_list": t_list, "keep_weight": keep_weight, "remat": remat}
    return learn(base, params, target, condition, masks, jax.random.key(7), **how)


def test_clean_chunks_give_no_loss_and_no_gradient(setting):
    (value, _), gradients = run(setting, (0.0,))
    assert float(value) == 0.0
    assert all(float(jnp.abs(g).max()) == 0.0 for g in jax.tree.leaves(gradients))


def test_noisy_chunks_give_a_gradient_to_sound_and_picture(setting):
    (value, metrics), gradients = run(setting, (0.999, 0.769))
    assert float(value) > 0 and set(metrics) == {"mouth_error_0.999", "skipped_samples"}
    assert float(jnp.abs(gradients["audio_proj"]["proj"]["kernel"][...]).max()) > 0
    assert float(jnp.abs(gradients["patch_embedding"]["kernel"][...]).max()) > 0


def test_rematerialisation_changes_no_number(setting):
    (plain, _), a = run(setting, (0.999, 0.769))
    (remat, _), b = run(setting, (0.999, 0.769), remat=True)
    assert float(plain) == pytest.approx(float(remat), rel=1e-6)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_keep_weight_takes_the_kept_cells_out(setting):
    (whole, _), _ = run(setting, (0.999,))
    (mouth, _), _ = run(setting, (0.999,), keep_weight=0.0)
    assert 0 < float(mouth) < float(whole)


def test_windows_are_those_of_the_release():
    """Visible frames per chunk (spec training 1.4)."""
    masks = df.window_masks(21, 3)
    expected = ["3 6 7 7 7 7 7", "3 6 9 10 10 10 10", "3 6 9 12 13 13 13", "3 6 9 9 9 9 9", "3 6 9 12 12 12 12"]
    assert [" ".join(str(m[3 * c].sum()) for c in range(7)) for m in masks] == expected


def test_a_residual_network_starts_as_the_reference_sequence(setting):
    """Before training, the x0 of nano's parametrisation is the source video itself."""
    _, _, target, condition = setting
    model = nnx.jit(lambda: DiT(replace(CFG, residual=True), rngs=nnx.Rngs(0)))()
    noisy, t = jax.random.normal(jax.random.key(8), target.shape), jnp.full((2, 1), 0.999)
    text = jax.jit(DiT.text_keys)(model, condition.text)
    given = model, noisy, condition.channels(), t, text, condition.audio
    velocity, _ = jax.jit(DiT.__call__)(*given, positions=jnp.arange(6))
    np.testing.assert_allclose(df.flow.flow_to_x0(noisy, velocity, t), condition.ref_sequence, atol=1e-5)


def test_a_sample_that_is_no_number_takes_no_part(setting):
    """The loss and gradient are those of the batch without it, and it is counted."""
    base, params, target, condition = setting
    (clean, _), gradients = run(setting, (0.999,))
    spoilt = base, params, target.at[1, 0, 0, 0, 0].set(jnp.nan), condition
    (value, metrics), partial = run(spoilt, (0.999,))
    assert int(metrics["skipped_samples"]) == 1 and np.isfinite(float(value)) and float(value) != float(clean)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(partial))
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradients))
