"""Stage "tiny_vae": teaches the tiny video autoencoder to carry faces through 16 channels.

The encoder is set to principal components and stays so; the decoder starts there too and learns what a linear map
cannot do. Since the latents are fixed from the start, the student may train beside it.
"""

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from lipforcing_jax.data import frame_pool, speech_dataset
from lipforcing_jax.distill import autoencoding, train_state
from lipforcing_jax.models import presets
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training.loop import drawn, fit
from lipforcing_jax.training.principal import start_at_components
from lipforcing_jax.weights import networks, store


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_vae.py); returns the weights file."""
    preset = presets.by_name(config.preset)
    speech = speech_dataset.build(workdir / "speech", "train", config.speech_clips, config.speech_frames)
    pool = frame_pool.build(
        workdir / "pictures.npy", config.clips, config.clip_frames, preset.face_size, config.leaves,
        speech_dataset.load(speech)["mouth"],
    )  # fmt: skip
    weights = workdir / networks.FILES["vae"]
    if not weights.exists():
        vae = TinyVAE(preset.tiny_vae, rngs=nnx.Rngs(config.seed))
        seen = np.asarray(pool[:: config.component_stride, 4:8], np.float32) / 255
        start_at_components(vae, seen, config.lips_weight)
        export(vae, weights)
    vae = store.load_module(weights, networks.makers(preset)["vae"])
    graphdef, params = nnx.split(vae.decoder)
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)
    encoder_def, encoder = nnx.split(vae.encoder)

    def loss(params, batch, key):
        return autoencoding.loss(
            graphdef, params, nnx.merge(encoder_def, encoder), batch, key, config.latent_noise
        )

    def batch_at(i):
        return frame_pool.crops(
            pool, np.random.default_rng([config.seed, i]), config.batch, config.frames, config.crop,
            preset.tiny_vae.patch_size,
        )  # fmt: skip

    def keep(state) -> dict[str, float]:
        vae.decoder = nnx.merge(graphdef, state.average)
        export(vae, weights)
        return {}

    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay),
        drawn(batch_at),
        steps=config.steps, workdir=workdir / "tiny_vae", seed=config.seed, save_every=config.save_every, evaluate=keep,
        record=config.to_dict(),
    )  # fmt: skip
    keep(jax.device_get(state))
    return weights


def export(vae: TinyVAE, path: Path) -> None:
    """Writes the weights as they are shipped."""
    store.save_module(path, vae, np.float16, {"stage": "tiny_vae"})
