"""Stage "audio": teaches nano's log-mel encoder which mouth belongs to which sound."""

from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32

from lipforcing_jax.data import speech_dataset
from lipforcing_jax.data.acoustics import augment
from lipforcing_jax.data.phones import INVENTORY
from lipforcing_jax.distill import hearing, train_state
from lipforcing_jax.models import presets
from lipforcing_jax.models.audio import LogMelEncoder, encode_clip
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.training.loop import drawn, fit
from lipforcing_jax.weights import store


def batch_of(clips: dict[str, np.ndarray], seed: int, batch: int, frames: int) -> dict[str, np.ndarray]:
    """Random cuts of random clips through random rooms and microphones; a pure function of `seed`."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(clips["audio"]), size=batch)
    first = rng.integers(clips["mouth"].shape[1] - frames + 1, size=batch)
    audio = np.empty((batch, frames * SAMPLES_PER_FRAME), np.float32)
    for row, (clip, start) in enumerate(zip(which, first, strict=True)):
        span = slice(start * SAMPLES_PER_FRAME, (start + frames) * SAMPLES_PER_FRAME)
        babble = clips["audio"][rng.integers(len(clips["audio"])), span] if rng.random() < 0.3 else None
        spoken = clips["audio"][clip, span]
        audio[row] = augment(spoken, rng, babble=babble) if rng.random() < 0.85 else spoken
    cut = lambda name: np.stack([clips[name][c, s : s + frames] for c, s in zip(which, first, strict=True)])  # noqa: E731
    return {"audio": audio, "mouth": cut("mouth"), "phones": cut("phones")}


def opening_correlation(encoder: LogMelEncoder, clips: dict[str, np.ndarray]) -> float:
    """Mean correlation of the guessed and the true lip opening over clips in which the mouth moves."""
    guess = np.asarray(jax.jit(encode_clip)(encoder, clips["audio"]))[..., -5]
    scores = [np.corrcoef(g, m)[0, 1] for g, m in zip(guess, clips["mouth"][..., 1], strict=True) if m.std() > 0.02]
    return float(np.mean(scores))


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_audio.py); returns the weights file."""
    preset = presets.by_name(config.preset)
    shards = speech_dataset.build(workdir / "speech", "train", config.clips, config.clip_frames, config.workers)
    clips = speech_dataset.load(shards)
    held = speech_dataset.build(workdir / "speech", "heldout", config.heldout_clips, config.clip_frames)
    heldout = speech_dataset.load(held)
    rngs = nnx.Rngs(config.seed)
    listener = hearing.Listener(LogMelEncoder(preset.audio, rngs=rngs), len(INVENTORY), rngs=rngs)
    graphdef, params = nnx.split(listener)
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)

    def loss(params, batch, key):
        return hearing.loss(graphdef, params, batch["audio"], batch["mouth"], batch["phones"], config.phone_weight)

    def export(state) -> Path:
        encoder = nnx.merge(graphdef, state.average).encoder
        return store.save_module(workdir / "audio.safetensors", encoder, np.float16, {"stage": "audio"})

    def evaluate(state):
        export(state)
        return {"heldout_opening": opening_correlation(nnx.merge(graphdef, state.average).encoder, heldout)}

    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay),
        drawn(lambda i: batch_of(clips, config.seed + i, config.batch, config.frames)),
        steps=config.steps, workdir=workdir / "audio", seed=config.seed, evaluate=evaluate,
        save_every=config.save_every, record=config.to_dict(),
    )  # fmt: skip
    return export(state)


def features_of(encoder: LogMelEncoder, audio: Float32[np.ndarray, "b n"]) -> Float32[np.ndarray, "b t f"]:
    """Features of whole clips, for data sets."""
    return np.asarray(jax.jit(encode_clip)(encoder, audio))
