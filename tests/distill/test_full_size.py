"""Stage 2 at the released sizes, without any numbers: shapes, types and what is trained."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lipforcing_jax.distill import base as shared
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.self_forcing import Judge, Recipe, teach_critic, teach_student
from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import LoRAConfig, SyncNetConfig, TinyVAEConfig
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE


def numbers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize("size, trained", [("1.3b", 177_468_000), ("14b", 619_339_872)])
def test_both_parts_of_stage_2(size, trained):
    """Trained counts of spec training 1.2; gradients in float32 under a network that computes in bfloat16."""
    cfg = presets.by_name(size).dit
    model = nnx.eval_shape(lambda: DiT(cfg, lora=LoRAConfig(), dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    base, part = shared.split(model)
    assert sum(leaf.size for leaf in jax.tree.leaves(part)) == trained
    latents, text = numbers(1, 21, 64, 64, 16), numbers(1, cfg.text_len, cfg.text_dim)
    condition = Condition(
        text, numbers(1, 21, 4 * cfg.audio_dim), numbers(1, 1, 64, 64, 16), latents, latents, numbers(64, 64)
    )
    vae = nnx.eval_shape(lambda: TinyVAE(TinyVAEConfig(), rngs=nnx.Rngs(0)))
    judge = Judge(vae, nnx.eval_shape(lambda: SyncNet(SyncNetConfig(), rngs=nnx.Rngs(0))))
    key, recipe = jax.eval_shape(lambda: jax.random.key(0)), Recipe()
    for exit_step in (0, 1):
        gradient, _ = teach_critic.eval_shape(base, part, part, condition, key, recipe, exit_step)
        assert kinds(gradient) == kinds(part)
        gradient, _, _ = teach_student.eval_shape(
            base, part, part, part, condition, text, key, recipe, exit_step, judge, numbers(1, 323, 13)
        )
        assert kinds(gradient) == kinds(part)
