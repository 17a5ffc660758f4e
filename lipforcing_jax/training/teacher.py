"""Stage "flow_matching": the bidirectional teacher of a small preset, from nothing (spec training 0.2, network 8)."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax import flow
from lipforcing_jax.data import reader
from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import flow_matching, train_state
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition, predict_x0
from lipforcing_jax.media.mouth_mask import latent_mask
from lipforcing_jax.training import actors
from lipforcing_jax.training.conditions import condition_of, steady_chunk
from lipforcing_jax.training.loop import fit
from lipforcing_jax.training.student import channel_visibility, optimiser_of
from lipforcing_jax.weights import networks

VAL_LEVELS = (0.999, 0.769, 0.4)
"""Noise levels at which clips not trained on are judged: nothing to be seen of the mouth, the student's second step,
and a mouth that is almost there."""


class Fixed(NamedTuple):
    """What the loss is told beside the trained parameters and the batch."""

    base: Base
    mask: Float[Array, "h w"]
    prompts: Float[Array, "p l d"]
    negative_text: Float[Array, "1 l d"]
    channel_weights: Float[Array, " c"]


def loss(
    params: Any, batch: Batch, key: Array, fixed: Fixed, *, drop_share: float, keep_weight: float, remat: bool,
    steady: int | None = None,
):  # fmt: skip
    """`flow_matching.loss` of a batch as it is read; `steady` as in `condition_of`."""
    return flow_matching.loss(
        fixed.base, params, jnp.asarray(batch.target), condition_of(batch, fixed.mask, fixed.prompts, steady), key,
        negative_text=fixed.negative_text, drop_share=drop_share, keep_weight=keep_weight,
        channel_weights=fixed.channel_weights, remat=remat,
    )  # fmt: skip


@jax.jit
def mouth_errors(
    base: Base,
    teacher: nnx.State,
    target: Float[Array, "b t h w c"],
    condition: Condition,
    eps: Float[Array, "b t h w c"],
    levels: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Mean squared x0 error of the generated cells at each noise level."""
    keep = jnp.ones(target.shape[0], bool)

    def one(level):
        t = jnp.full(target.shape[0], level)
        guess = predict_x0(base.join(teacher), flow.add_noise(target, eps, t), t, condition)
        return flow_matching.generated_error(jnp.mean((guess - target) ** 2, axis=-1), condition.mask, keep)

    return jax.lax.map(one, levels)


def validate(
    base: Base, teacher: nnx.State, batch: Batch, fixed: Fixed, steady: int | None = None
) -> dict[str, float]:
    """Errors of a teacher on clips that it isn't trained on, as they are and without their sound.

    What sound is worth to the teacher is the difference between the two.
    """
    condition = condition_of(batch, fixed.mask, fixed.prompts, steady)
    target = jnp.asarray(batch.target)
    eps, levels = jax.random.normal(jax.random.key(0), target.shape), jnp.asarray(VAL_LEVELS)
    numbers = {}
    for name, told in (("val_mouth_error", condition), ("val_unheard_error", condition.negative(fixed.negative_text))):
        errors = mouth_errors(base, teacher, target, told, eps, levels)
        numbers |= {f"{name}_{level}": float(error) for level, error in zip(VAL_LEVELS, errors, strict=True)}
    return numbers


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_teacher.py); returns the weights file."""
    preset = networks.find(config.preset)
    base, params, _ = actors.load(config, preset, workdir)
    vae = actors.load_decoder(config, preset, workdir)
    shown = actors.first_batch(config, workdir, "train", config.batch, config.chunk)
    fixed = Fixed(
        base, jnp.asarray(latent_mask(preset.latent_size), jnp.float32),
        jnp.asarray(reader.prompts(actors.dataset_folder(config, workdir))), actors.negative_text(config, preset),
        channel_visibility(vae, jnp.asarray(shown.target)),
    )  # fmt: skip
    held_out = actors.first_batch(config, workdir, "val", config.val_clips)
    steady = steady_chunk(config)
    asked = partial(
        loss, drop_share=config.drop_share, keep_weight=config.keep_weight, remat=config.remat, steady=steady
    )

    def evaluate(state) -> dict[str, float]:
        actors.export(config, base, state.average, workdir)
        return validate(base, state.average, held_out, fixed, steady)

    optimiser = optimiser_of(config)
    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(asked, optimiser, config.average_decay, fixed),
        actors.open_data(config, workdir),
        steps=config.steps, workdir=workdir / config.name, seed=config.seed, accumulation=config.accumulation,
        log_every=config.log_every, save_every=config.save_every, keep=config.keep, evaluate=evaluate,
        record=config.to_dict(), max_skipped=config.max_skipped,
    )  # fmt: skip
    return actors.export(config, base, state.average, workdir)
