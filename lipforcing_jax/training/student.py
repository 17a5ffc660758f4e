"""Stage "diffusion_forcing": stage 1, the causal student under a block-causal mask (spec training 1)."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from lipforcing_jax.data import reader
from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import diffusion_forcing, optimisers, train_state
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.other_mouth import other_mouth
from lipforcing_jax.distill.self_forcing import Recipe
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.mouth_mask import latent_mask
from lipforcing_jax.models.presets import Preset, WindowConfig
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training import actors, devices
from lipforcing_jax.training.conditions import condition_of, steady_chunk
from lipforcing_jax.training.loop import fit
from lipforcing_jax.training.validation import Validation


class Fixed(NamedTuple):
    """What the loss is told beside the trained parameters and the batch."""

    base: Base
    mask: Float[Array, "h w"]
    masks: Bool[Array, "n t t"]
    prompts: Float[Array, "p l d"]
    channel_weights: Float[Array, " c"]


def loss(params: Any, batch: Batch, key: Array, fixed: Fixed, *, config):
    """`diffusion_forcing.loss` of a batch as it is read, with other mouths where the experiment wants them."""
    condition = condition_of(batch, fixed.mask, fixed.prompts, steady_chunk(config))
    if config.other_mouth:
        key, key_mouth = jax.random.split(key)
        shown = other_mouth(condition.ref_sequence, jnp.asarray(batch.ref_sequence), key_mouth, config.other_mouth)
        condition = condition._replace(ref_sequence=shown)
    return diffusion_forcing.loss(
        fixed.base, params, jnp.asarray(batch.target), condition, fixed.masks, key,
        chunk=config.chunk, t_list=tuple(config.t_list), keep_weight=config.keep_weight,
        channel_weights=fixed.channel_weights, remat=config.remat,
    )  # fmt: skip


def loss_of(config):
    """The loss with the settings of an experiment file."""
    return partial(loss, config=config.copy_and_resolve_references())


def optimiser_of(config) -> optax.GradientTransformation:
    """AdamW at the constant rate of the release, or along a cosine where `schedule` says so."""
    if config.schedule == "cosine":
        return train_state.adamw(config.lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)
    return optimisers.adamw(
        config.lr, config.b1, config.b2, config.eps, config.weight_decay, config.clip_norm, config.warmup
    )


def tables(config, preset: Preset, base: Base, prompts, channel_weights) -> Fixed:
    """Mask, windows and the other constants of a run."""
    windows = tuple(tuple(pair) for pair in config.windows)
    return Fixed(
        base, jnp.asarray(latent_mask(preset.latent_size), jnp.float32),
        jnp.asarray(diffusion_forcing.window_masks(config.frames, config.chunk, windows)), jnp.asarray(prompts),
        jnp.asarray(channel_weights, jnp.float32),
    )  # fmt: skip


def channel_visibility(vae: TinyVAE, latents: Float[Array, "b t h w c"]) -> Float[Array, " c"]:
    """How much a unit step of each latent channel changes the picture, scaled to mean 1.

    Nano's latents are whitened components: without this weight the last of them, hardly visible, would count as much
    as the brightness of the skin.
    """
    decode = jax.jit(lambda z: vae.decode(z)[0])
    base, steps = decode(latents), jnp.eye(latents.shape[-1])
    gains = jnp.stack([jnp.sqrt(jnp.mean((decode(latents + s) - base) ** 2)) for s in steps])
    return gains / gains.mean()


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_df.py); returns the weights file.

    Raises:
      UserError: what `config` says does not fit the weights or itself.
    """
    if config.other_mouth and not config.steady_mouth:
        raise UserError("other_mouth is for lips that are held: give steady_mouth=True with it, or other_mouth=0.0.")
    preset = actors.preset_of(config)
    mesh = devices.mesh_of(config, preset.dit.num_heads)
    found = actors.load(config, preset, workdir, mesh)
    prompts = reader.prompts(actors.dataset_folder(config, workdir))
    vae = devices.everywhere(actors.load_decoder(config, preset, workdir), mesh)
    channel_weights = jnp.ones(preset.dit.latent_channels)
    if config.visible_channels:
        seen = actors.first_batch(config, workdir, "train", config.batch, config.chunk)
        channel_weights = channel_visibility(vae, jnp.asarray(seen.target))
    fixed = tables(config, preset, found.base, prompts, channel_weights)
    optimiser = optimiser_of(config)
    averaged = config.average_decay > 0
    window = WindowConfig(config.chunk, preset.window.window, preset.window.sink, preset.window.dynamic_rope)
    recipe = Recipe(window, tuple(config.t_list), reward=None)
    batch = actors.first_batch(config, workdir, "val", config.val_clips)
    condition = condition_of(batch, fixed.mask, fixed.prompts, steady_chunk(config))
    validation = Validation(batch, condition, recipe, vae, None, workdir / config.name / "samples")
    of = lambda state: state.average if averaged else state.params  # noqa: E731

    def evaluate(state) -> dict[str, float]:
        actors.export(config, found.base, of(state), workdir)
        return validation.measure(found.base, of(state))

    state = fit(
        devices.place(train_state.create(found.student, optimiser, averaged), mesh),
        train_state.make_step(loss_of(config), optimiser, config.average_decay if averaged else None, fixed),
        actors.open_data(config, workdir, mesh=mesh),
        steps=config.steps, workdir=workdir / config.name, seed=config.seed, accumulation=config.accumulation,
        log_every=config.log_every, save_every=config.save_every, keep=config.keep, best=config.best or None,
        evaluate=evaluate, sample=lambda state, step: validation.draw(found.base, of(state), step),
        sample_every=config.sample_every, record=config.to_dict(), max_skipped=config.max_skipped, mesh=mesh,
    )  # fmt: skip
    return actors.export(config, found.base, of(state), workdir)
