"""Stage "audio": teaches nano's log-mel encoder which mouth belongs to which sound."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float32

from lipforcing_jax.data import speech_dataset
from lipforcing_jax.data.acoustics import augment
from lipforcing_jax.data.phones import INVENTORY
from lipforcing_jax.distill import hearing, train_state
from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets
from lipforcing_jax.models.audio import LogMelEncoder, encode_clip
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.parallel import sharding
from lipforcing_jax.training.loop import drawn, fit
from lipforcing_jax.weights import networks, store

PACE = 0.15
"""Voices are heard at up to so much (a logarithm) of another size and pace."""


def cut(clips: dict[str, np.ndarray], clip: int, start: int, frames: int, pace: float) -> tuple[np.ndarray, ...]:
    """`frames` video frames of a clip from frame `start` on, spoken `pace` times as fast and as high: sound, mouth and
    phones."""
    length = round(frames * pace * SAMPLES_PER_FRAME)
    sound = clips["audio"][clip, start * SAMPLES_PER_FRAME :][:length]
    # Linear, since what it adds is far below the rooms and noises that follow.
    sound = np.interp(np.linspace(0, length - 1, frames * SAMPLES_PER_FRAME), np.arange(length), sound)
    mouth, phones = clips["mouth"][clip, start:], clips["phones"][clip, start:]
    when = np.clip((np.arange(frames) + 0.5) * pace - 0.5, 0, len(mouth) - 1)
    mouth = np.stack([np.interp(when, np.arange(len(mouth)), column) for column in mouth.T], axis=-1)
    return sound.astype(np.float32), mouth.astype(np.float32), phones[np.round(when).astype(int)]


def batch_of(clips: dict[str, np.ndarray], seed: int, batch: int, frames: int) -> dict[str, np.ndarray]:
    """Random cuts of random clips through random rooms and microphones; a pure function of `seed`."""
    rng = np.random.default_rng(seed)
    count, whole = clips["mouth"].shape[:2]
    rows = []
    for _ in range(batch):
        pace = float(np.exp(rng.uniform(-PACE, PACE)))
        longest = whole - int(np.ceil(frames * pace))
        clip, start = rng.integers(count), rng.integers(max(longest, 0) + 1)
        sound, mouth, phones = cut(clips, clip, start, frames, pace if longest >= 0 else 1.0)
        babble = clips["audio"][rng.integers(count), : len(sound)] if rng.random() < 0.3 else None
        rows.append((augment(sound, rng, babble=babble) if rng.random() < 0.85 else sound, mouth, phones))
    return dict(zip(("audio", "mouth", "phones"), map(np.stack, zip(*rows, strict=True)), strict=True))


@dataclass(frozen=True)
class Batches:
    """Batch `i` of a run; reads the clips where they are first asked for, which may be a process of its own."""

    shards: tuple[Path, ...]
    seed: int
    batch: int
    frames: int

    @cached_property
    def clips(self) -> dict[str, np.ndarray]:
        return speech_dataset.load(list(self.shards))

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        return batch_of(self.clips, self.seed + i, self.batch, self.frames)


def opening_correlation(encoder: LogMelEncoder, clips: dict[str, np.ndarray]) -> float:
    """Mean correlation of the guessed and the true lip opening over clips in which the mouth moves."""
    guess = np.asarray(jax.jit(encode_clip)(encoder, clips["audio"]))[..., -5]
    scores = [np.corrcoef(g, m)[0, 1] for g, m in zip(guess, clips["mouth"][..., 1], strict=True) if m.std() > 0.02]
    return float(np.mean(scores))


def reading(params: nnx.State) -> nnx.State:
    """Which parameters make code and mouth of what was heard: "read", and "hear" for the others."""

    def label(path, _) -> str:
        names = sharding.path_names(path)
        return "read" if names[:2] in (("encoder", "norm"), ("encoder", "code"), ("encoder", "mouth")) else "hear"

    return jax.tree.map_with_path(label, params)


def speak(config, workdir: Path) -> tuple[list[Path], list[Path]]:
    """Makes what is missing of the speech that the stage learns from, and of the speech that it is judged by."""
    build = partial(speech_dataset.build, workdir / "speech", frames=config.clip_frames, workers=config.workers)
    return build("train", config.clips), build("heldout", config.heldout_clips)


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_audio.py); returns the weights file.

    Raises:
      UserError: the ear to go on from lies where the result goes.
    """
    file = f"{config.name}.safetensors"
    if config.start == file:
        raise UserError(f"The result goes to {file} in {workdir}; copy the ear to start from to another name.")
    preset = presets.by_name(config.preset)
    shards, held = speak(config, workdir)
    heldout = speech_dataset.load(held)
    rngs = nnx.Rngs(config.seed)
    # Two of them, since a step takes over the memory of the one that it teaches.
    given = lambda: store.load_module(workdir / config.start, networks.makers(preset)["ear"])  # noqa: E731
    former = given() if config.start else None
    encoder = given() if config.start else LogMelEncoder(preset.audio, rngs=rngs)
    graphdef, params = nnx.split(hearing.Listener(encoder, len(INVENTORY), rngs=rngs))
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)
    if former is not None:
        optimiser = optax.partition({"read": optax.set_to_zero(), "hear": optimiser}, reading)

    def loss(params, batch, key, former):
        return hearing.loss(
            graphdef, params, batch["audio"], batch["mouth"], batch["phones"], key, config.phone_weight, former,
            config.code_weight,
        )  # fmt: skip

    def export(state) -> Path:
        encoder = nnx.merge(graphdef, state.average).encoder
        return store.save_module(workdir / file, encoder, np.float16, {"stage": "audio"})

    def evaluate(state):
        export(state)
        return {"heldout_opening": opening_correlation(nnx.merge(graphdef, state.average).encoder, heldout)}

    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay, former),
        drawn(Batches(tuple(shards), config.seed, config.batch, config.frames), config.loaders),
        steps=config.steps, workdir=workdir / config.name, seed=config.seed, evaluate=evaluate,
        save_every=config.save_every, record=config.to_dict(),
    )  # fmt: skip
    return export(state)


def features_of(encoder: LogMelEncoder, audio: Float32[np.ndarray, "b n"]) -> Float32[np.ndarray, "b t f"]:
    """Features of whole clips, for data sets."""
    return np.asarray(jax.jit(encode_clip)(encoder, audio))
