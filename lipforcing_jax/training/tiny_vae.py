"""Stage "tiny_vae": teaches the tiny video autoencoder to carry faces through 16 channels."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lipforcing_jax.data import frame_pool
from lipforcing_jax.distill import autoencoding, train_state
from lipforcing_jax.models import presets
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training.loop import fit
from lipforcing_jax.weights import store


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_vae.py); returns the weights file."""
    preset = presets.by_name(config.preset)
    pool = frame_pool.build(
        workdir / "pictures.npy", config.clips, config.clip_frames, preset.face_size, config.leaves
    )
    graphdef, params = nnx.split(TinyVAE(preset.tiny_vae, rngs=nnx.Rngs(config.seed)))
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)

    def loss(params, batch, key):
        return autoencoding.loss(graphdef, params, batch, key, config.latent_noise, config.latent_pull)

    def batch_at(i):
        return frame_pool.crops(pool, np.random.default_rng(config.seed + i), config.batch, config.frames, config.crop)

    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay),
        batch_at,
        steps=config.steps, workdir=workdir / "tiny_vae", seed=config.seed, save_every=config.save_every,
    )  # fmt: skip
    vae = nnx.merge(graphdef, state.average)
    facts = {"stage": "tiny_vae", "latent_statistics": latent_statistics(vae, pool)}
    return store.save_module(workdir / "tiny_vae.safetensors", vae, np.float16, facts)


def latent_statistics(vae: TinyVAE, pool, clips: int = 64) -> str:
    """Mean and deviation of every latent channel over some clips, to be kept with the weights."""
    picked = jnp.asarray(pool[:: max(1, len(pool) // clips), :8], jnp.float32) / 255
    latents = jax.jit(lambda v, x: v.encode(x)[0])(vae, picked)
    axes = (0, 1, 2, 3)
    return f"mean {np.round(latents.mean(axes), 3).tolist()} deviation {np.round(latents.std(axes), 3).tolist()}"
