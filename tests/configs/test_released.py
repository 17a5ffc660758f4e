"""The released experiments: every value is the specification's, and every update can be built at full size.

Nothing is allocated: `jax.eval_shape` runs the update that a run would make, optimisers included.
"""

from itertools import cycle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import base as shared
from lipforcing_jax.distill import distillation, train_state
from lipforcing_jax.distill.distribution_matching import SyncWindow
from lipforcing_jax.distill.self_forcing import Judge
from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import LoRAConfig, SyncNetConfig, TinyVAEConfig
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training import self_forcing, student
from lipforcing_jax.training.run import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
TRAINED = {"14b": 619_339_872, "1.3b": 177_468_000}
"""Spec training 1.2."""

BOTH = {
    "preset": "14b", "seed": 0, "trained": "low_rank", "lora_rank": 128, "lora_alpha": 64.0, "frames": 21, "chunk": 3,
    "t_list": (0.999, 0.769, 0.0), "b2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "clip_norm": 10.0, "warmup": 0,
    "dtype": "bfloat16", "dataset": "", "weights": "", "steady_mouth": False,
}  # fmt: skip
STAGE_1 = BOTH | {
    "stage": "diffusion_forcing", "name": "stage1", "start": "", "steps": 5000 - 1, "batch": 2 * 4, "accumulation": 2,
    "windows": ((7, 1), (10, 1), (13, 1), (9, 3), (12, 3)), "lr": 1e-5, "b1": 0.9, "schedule": "constant",
    "average_decay": 0.0, "keep_weight": 1.0, "visible_channels": False, "remat": "full", "save_every": 500,
    "sample_every": 500, "workers": 4, "other_mouth": 0.0,
}  # fmt: skip
STAGE_2 = BOTH | {
    "stage": "self_forcing", "name": "stage2", "start": "stage1.safetensors", "steps": 600 - 1, "batch": 1 * 4,
    "accumulation": 4, "window": 7, "sink": 1, "dynamic_rope": True, "shift": 5.0, "guidance": 4.5,
    "window_low": 0.556, "window_high": 0.882, "window_reverse": False, "negative_prompt": "", "reward": "sync_net",
    "reward_beta": 2.0, "reward_mode": "per_sample", "reward_center": False, "reward_clamp": None, "student_every": 5,
    "remat": "full", "critic_scale": False, "lr": 2e-6, "critic_lr": 0.0, "b1": 0.0, "save_every": 100,
    "sample_every": 100, "workers": 2,
}  # fmt: skip
"""Spec training 6, columns S1 and S2. `max_iter` is exclusive; batches are those of four devices."""
OURS = {"mesh", "keep", "best", "log_every", "max_skipped", "val_clips"}
"""What the release does not have, or not say."""
FILES = {"stage1_df_14b": STAGE_1, "stage2_sf_14b": STAGE_2} | {
    "stage1_df_1p3b": STAGE_1 | {"preset": "1.3b"}, "stage2_sf_1p3b": STAGE_2 | {"preset": "1.3b"},
}  # fmt: skip


def read(name: str):
    return load_config(CONFIGS / f"{name}.py", [])


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_value_is_the_specification_s(name):
    found = read(name).to_dict()
    assert {field: found[field] for field in found if field not in OURS} == FILES[name]
    assert found["batch"] * found["accumulation"] == 16


@pytest.mark.parametrize(("small", "large"), [("nano_df", "stage1_df_14b"), ("nano_sf", "stage2_sf_14b")])
def test_a_stage_reads_the_same_fields_at_every_size(small, large):
    """But for those of the shared base, and of an optimiser that nano's first stage has not."""
    only_large = {"weights", "lora_rank", "lora_alpha", "dtype", "b1", "b2", "eps"}
    fields = {name: set(read(name).keys()) for name in (small, large)}
    assert fields[large] - fields[small] <= only_large and fields[small] - fields[large] <= {"teacher"}


def test_the_recipe_of_stage_2_is_the_default():
    """The defaults of the code are the release, too."""
    assert self_forcing.recipe_of(read("stage2_sf_14b")) == self_forcing.Recipe()
    assert self_forcing.guidance_of(read("stage2_sf_14b")) == SyncWindow()
    assert self_forcing.Rules() == self_forcing.Rules(5, False)


# -- one update --------------------------------------------------------------------------------------------------------


def numbers(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def batch(config, cfg, *leading: int) -> Batch:
    """What the reader gives: clips of 64 x 64 latents, and MFCC of 81 video frames."""
    latents = lambda frames: numbers(*leading, config.batch, frames, 64, 64, cfg.latent_channels)  # noqa: E731
    whole, rows = latents(config.frames), 4 * (4 * config.frames - 3) - 1
    return Batch(
        target=whole, ref_latent=latents(1), masked_video=whole, ref_sequence=whole,
        audio=numbers(*leading, config.batch, config.frames, 4 * cfg.audio_dim),
        cepstra=numbers(*leading, config.batch, rows, 13),
        prompt=numbers(*leading, config.batch, dtype=jnp.int32),
        waveform=numbers(*leading, config.batch, 640 * (4 * config.frames - 3), dtype=jnp.int16),
    )  # fmt: skip


def parts(config) -> tuple[shared.Base, nnx.State]:
    """The frozen base in bfloat16, as it is converted, and a trained part in float32."""
    cfg = presets.by_name(config.preset).dit
    lora = LoRAConfig(config.lora_rank, config.lora_alpha)
    model = nnx.eval_shape(lambda: DiT(cfg, lora=lora, dtype=jnp.dtype(config.dtype), rngs=nnx.Rngs(0)))
    base, trained = shared.split(model)
    frozen = jax.tree.map(lambda leaf: numbers(*leaf.shape, dtype=jnp.bfloat16), base.frozen)
    assert size(trained) == TRAINED[config.preset]
    return base._replace(frozen=frozen), trained


def key():
    return jax.eval_shape(lambda: jax.random.key(0))


@pytest.mark.parametrize("name", ["stage1_df_1p3b", "stage1_df_14b"])
def test_an_update_of_stage_1(name):
    config = read(name)
    preset, optimiser = presets.by_name(config.preset), student.optimiser_of(config)
    base, trained = parts(config)
    prompts = np.zeros((1, preset.dit.text_len, preset.dit.text_dim), np.float32)
    fixed = student.tables(config, preset, base, prompts, np.ones(preset.dit.latent_channels))
    assert fixed.mask.shape == (64, 64) and fixed.masks.shape == (5, 21, 21)
    state = jax.eval_shape(lambda part: train_state.create(part, optimiser, averaged=False), trained)
    after, metrics = train_state.step.eval_shape(
        state, batch(config, preset.dit, config.accumulation), key(), (fixed,),
        loss=student.loss_of(config), optimiser=optimiser, average_decay=None,
    )  # fmt: skip
    assert kinds(after) == kinds(state) and after.average is None
    assert size(optax.tree.get(after.opt_state, "mu")) == size(optax.tree.get(after.opt_state, "nu")) == size(trained)
    assert metrics["loss"].shape == () and metrics["grad_norm"].dtype == jnp.float32


@pytest.mark.parametrize("name", ["stage2_sf_1p3b", "stage2_sf_14b"])
def test_an_update_of_stage_2(name, monkeypatch):
    """The fifth, at which both learn, with all its batches."""
    config = read(name)
    preset, recipe = presets.by_name(config.preset), self_forcing.recipe_of(config)
    optimise = self_forcing.optimisers_of(config)
    base, trained = parts(config)
    vae = nnx.eval_shape(lambda: TinyVAE(TinyVAEConfig(), rngs=nnx.Rngs(0)))
    judge = Judge(vae, nnx.eval_shape(lambda: SyncNet(SyncNetConfig(), rngs=nnx.Rngs(0))))
    text = numbers(1, preset.dit.text_len, preset.dit.text_dim)
    fixed = self_forcing.Fixed(base, trained, judge, numbers(64, 64), text, text)
    state = jax.eval_shape(lambda part: distillation.create(part, part, optimise), trained)
    # The host decides by numbers whose turn it is and where rollouts stop: here, both parts at either step.
    exits = cycle([0, 0, 1, 1])
    monkeypatch.setattr(self_forcing, "draw_exit_step", lambda key, recipe: next(exits))
    rules = self_forcing.Rules(config.student_every, config.critic_scale)

    def update(fixed, state, draws, key):
        return self_forcing.make_advance(fixed, recipe, optimise, rules)(state._replace(step=4), draws, key)

    draws = [batch(config, preset.dit)] * config.accumulation
    after, metrics = jax.eval_shape(update, fixed, state, draws, key())
    assert kinds(after._replace(step=state.step)) == kinds(state)
    assert size(after.student) == size(after.critic) == TRAINED[config.preset]
    assert {"critic_loss", "student_loss", "reward_mean", "weight_std", "student_grad_norm"} <= metrics.keys()
