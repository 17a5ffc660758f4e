"""Stage "sync_net": teaches a SyncNet from nothing which mouth says which sound, on pairs of drawn talkers.

Both clips of a pair show one face and one motion, so nothing but the mouth can tell which of them speaks. Half of the
pairs in a batch are as they were drawn; half are varied and seen through the autoencoder, as the reward sees them.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float32, Int, UInt8
from tqdm import tqdm

from lipforcing_jax.data import speech_dataset, talker_dataset
from lipforcing_jax.data.acoustics import augment
from lipforcing_jax.data.variation import vary
from lipforcing_jax.distill import contrast, train_state
from lipforcing_jax.errors import UserError
from lipforcing_jax.evaluation import sync
from lipforcing_jax.models import presets
from lipforcing_jax.models.presets import Preset, SyncNetConfig
from lipforcing_jax.models.syncnet import SyncNet, to_levels
from lipforcing_jax.models.tiny_vae import TinyVAE, lead_in
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.sampling.plan import LEAD
from lipforcing_jax.training.loop import drawn, fit
from lipforcing_jax.weights import networks, store
from lipforcing_jax.whole_file import written_whole

STRETCH = 31
"""Frames from which the windows of one clip are drawn: as far apart as the shifts that Sync-C compares."""
SETTLING_BATCHES = 8
"""Batches whose statistics the norms of the finished network hold."""


class Windows(NamedTuple):
    """Single windows with their sounds and mouth parameters (of mean 0 and spread 1), and where they come from."""

    levels: UInt8[np.ndarray, "m f s s 3"]
    cepstra: Float32[np.ndarray, "m r c"]
    mouths: Float32[np.ndarray, "m f 6"]
    clips: Int[np.ndarray, " m"]
    times: Int[np.ndarray, " m"]


class Source(NamedTuple):
    """What batches are drawn from: pairs as drawn and as seen, their mouths, and cepstra in several rooms.

    Only the first pairs are there as seen through the autoencoder, which takes longer than drawing them.
    """

    drawn: UInt8[np.ndarray, "pairs 2 t s s 3"]
    seen: UInt8[np.ndarray, "some 2 t s s 3"]
    mouths: Float32[np.ndarray, "pairs 2 t 6"]
    cepstra: Float32[np.ndarray, "rooms pairs 2 rows c"]

    def choose(self, rng: np.random.Generator, count: int) -> list[tuple[int, UInt8[np.ndarray, "2 t s s 3"]]]:
        """Different pairs with their clips, half of them (rounded down) as seen."""
        seen = rng.choice(len(self.seen), count // 2, replace=False)
        others = np.setdiff1d(np.arange(len(self.drawn)), seen)
        drawn = rng.choice(others, count - len(seen), replace=False)
        return [(pair, self.seen[pair]) for pair in seen] + [(pair, self.drawn[pair]) for pair in drawn]


def seen_through(vae_file: Path, preset: Preset, shards: list[Path], seed: int, changed: bool = True) -> list[Path]:
    """Every pair after the autoencoder, in one random look if it is `changed`; files beside those of the pictures.

    Their names hold the hash of the autoencoder, so that another one gets pictures of its own.

    Raises:
      UserError: the autoencoder is missing, damaged, or not that of the preset.
    """
    vae: TinyVAE = store.load_module(vae_file, networks.makers(preset)["vae"])
    name = store.sha256([vae_file])[:8]
    paths = [shard.with_suffix(f".seen_{name}.npy") for shard in shards]
    for number, (shard, path) in enumerate(zip(tqdm(shards, desc="pictures seen"), paths, strict=True)):
        if not path.exists():
            rng = np.random.default_rng([seed, number])
            pairs = np.load(shard, mmap_mode="r")
            looks = (vary(pair, rng) if changed else np.asarray(pair) for pair in pairs)
            with written_whole(path) as growing, growing.open("wb") as file:
                np.save(file, np.stack([_through(vae, look) for look in looks]))
    return paths


@jax.jit
def _through(vae: TinyVAE, clips: UInt8[Array, "b t h w 3"]) -> UInt8[Array, "b t h w 3"]:
    latents, _ = vae.encode(lead_in(clips.astype(jnp.float32) / 255))
    pixels, _ = vae.decode(latents)
    return to_levels(2 * pixels[:, LEAD:] - 1).astype(jnp.uint8)


def load_pairs(shards: list[Path], size: int) -> UInt8[np.ndarray, "pairs 2 t s s 3"]:
    """All pictures at the size that SyncNet sees; made so small once, they fit into memory."""
    parts = []
    for shard in tqdm(shards, desc="pictures"):
        pairs = np.load(shard, mmap_mode="r")
        part = np.empty((*pairs.shape[:3], size, size, 3), np.uint8)
        for place in np.ndindex(part.shape[:3]):
            part[place] = cv2.resize(pairs[place], (size, size), interpolation=cv2.INTER_LINEAR)
        parts.append(part)
    return np.concatenate(parts)


def heard(audio: Float32[np.ndarray, "n s"], rooms: int, seed: int) -> Float32[np.ndarray, "rooms n m c"]:
    """Cepstra of every sound, clean and in `rooms` random rooms."""
    versions = []
    for room in range(rooms + 1):
        rng = np.random.default_rng([seed, room])
        sounds = tqdm(audio, desc=f"rooms {room}")
        versions.append(np.stack([sync.cepstra_of(augment(s, rng) if room else s) for s in sounds]))
    return np.stack(versions)


def batch_of(source: Source, rng: np.random.Generator, pairs: int, windows: int, cfg: SyncNetConfig) -> Windows:
    """`windows` moments of each clip of `pairs` random pairs; both clips of a pair are shown at the same moments."""
    moments = (source.cepstra.shape[3] - cfg.rows) // cfg.rows_per_frame + 1
    stretch = min(STRETCH, moments)
    levels, cepstra, mouths, times = [], [], [], []
    for pair, clips in source.choose(rng, pairs):
        starts = rng.integers(moments - stretch + 1) + rng.choice(stretch, windows, replace=False)
        look = same_look(rng)
        for side, room in enumerate(rng.integers(len(source.cepstra), size=2)):
            levels += [look(clips[side, t : t + cfg.frames]) for t in starts]
            sound = source.cepstra[room, pair, side]
            cepstra += [sound[cfg.rows_per_frame * t :][: cfg.rows] for t in starts]
            mouths += [source.mouths[pair, side, t : t + cfg.frames] for t in starts]
            times += [starts]
    clip_of = np.repeat(np.arange(2 * pairs), windows)
    return Windows(np.stack(levels), np.stack(cepstra), np.stack(mouths), clip_of, np.concatenate(times))


def same_look(rng: np.random.Generator):
    """A random change of pictures: mirrored, brighter or darker, tinted, blurred."""
    mirrored, gains = rng.random() < 0.5, np.exp(rng.normal(0, 0.05, 3) + rng.normal(0, 0.12))
    sigma = rng.uniform(0.4, 1.6) if rng.random() < 0.4 else 0.0
    curves = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)[:, None]

    def change(frames: UInt8[np.ndarray, "f h w 3"]) -> UInt8[np.ndarray, "f h w 3"]:
        out = np.empty_like(frames)
        for i, frame in enumerate(frames[:, :, ::-1] if mirrored else frames):
            picture = cv2.LUT(np.ascontiguousarray(frame), curves)
            out[i] = cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture
        return out

    return change


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_syncnet.py); returns the weights file.

    The tiny autoencoder's weights must be in `workdir`; talkers and speech that are missing there are made.

    Raises:
      UserError: the autoencoder is missing or does not fit; there is less speech than the pairs need.
    """
    preset = presets.by_name(config.preset)
    source, held = training_pairs(config, preset, workdir), heldout_pairs(config, preset, workdir)
    cfg = preset.sync_net
    graphdef, params = nnx.split(contrast.Learner(cfg, source.mouths.shape[-1], rngs=nnx.Rngs(config.seed)))
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)

    def loss(params, batch, key):
        return contrast.loss(graphdef, params, batch, config.mouth_weight)

    def batch_at(i):
        return batch_of(source, np.random.default_rng([config.seed, i]), config.batch, config.windows, cfg)

    settling = [batch_at(config.steps + i) for i in range(SETTLING_BATCHES)]

    def export(state) -> dict[str, float]:
        """Writes the weights as they are shipped and measures what was written."""
        model = settled(graphdef, state.average, settling)
        store.save_module(weights, model, np.float16, {"stage": "sync_net"})
        return sync.measure(networks.load_sync_net(preset, workdir), held, 4 * config.latent_frames - 3)

    weights = workdir / networks.SYNC_NET
    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay),
        drawn(batch_at),
        steps=config.steps, workdir=workdir / "sync_net", seed=config.seed, save_every=config.save_every,
        evaluate=export, record=config.to_dict(),
    )  # fmt: skip
    if not weights.exists():
        export(state)
    return weights


def settled(graphdef, params, batches: list[Windows]) -> SyncNet:
    """The trained network, after its norms have seen these batches."""
    model: SyncNet = nnx.merge(graphdef, params).net
    joined = Windows(*(np.concatenate(column) for column in zip(*batches, strict=True)))
    contrast.settle(model, *contrast.windows(joined.levels, joined.cepstra, model.cfg))
    contrast.fold(model)
    return model


def training_pairs(config, preset: Preset, workdir: Path) -> Source:
    """The pairs as drawn and as seen through the autoencoder, and their sounds."""
    shards, speech = _pairs(config, preset, workdir, "train", config.pairs, config.speech_clips)
    some = shards[: -(-config.seen_pairs // talker_dataset.SHARD)]
    seen = seen_through(workdir / networks.FILES["vae"], preset, some, config.seed)
    frames = 4 * config.latent_frames - 3
    cepstra = heard(speech["audio"][:, : frames * SAMPLES_PER_FRAME], config.rooms, config.seed)
    mouths = speech["mouth"][:, :frames]
    mouths = (mouths - mouths.mean((0, 1))) / (mouths.std((0, 1)) + 1e-3)
    pictures = (load_pairs(paths, preset.sync_net.face_size)[: config.pairs] for paths in (shards, seen))
    by_pair = lambda x: x.reshape(*x.shape[:-3], config.pairs, 2, *x.shape[-2:])  # noqa: E731
    return Source(*pictures, by_pair(mouths), by_pair(cepstra))


def heldout_pairs(config, preset: Preset, workdir: Path) -> sync.Heard:
    """Other identities, voices and sentences, seen through the autoencoder."""
    shards, speech = _pairs(config, preset, workdir, "heldout", config.heldout_pairs, 2 * config.heldout_pairs)
    seen = seen_through(workdir / networks.FILES["vae"], preset, shards, config.seed, changed=False)
    return sync.Heard(load_pairs(seen, preset.sync_net.face_size), speech["audio"].reshape(config.heldout_pairs, 2, -1))


def _pairs(
    config, preset: Preset, workdir: Path, split: str, pairs: int, clips: int
) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Shards of drawn pairs, made where they are missing, and what both clips of each say (`speech_dataset.load`).

    Raises:
      UserError: there is less speech than pairs need.
    """
    if clips < 2 * pairs:
        raise UserError(f"{pairs} pairs of talkers need {2 * pairs} clips of speech; give speech_clips={2 * pairs}.")
    frames = 4 * config.latent_frames - 3
    shards = speech_dataset.build(workdir / "speech", split, clips, config.speech_frames, config.workers)
    speech = speech_dataset.load(shards[: -(-2 * pairs // speech_dataset.SHARD)])
    speech = {name: values[: 2 * pairs] for name, values in speech.items()}
    mouths = speech["mouth"][:, :frames].reshape(pairs, 2, frames, -1)
    return talker_dataset.build(workdir / "talkers", mouths, preset.face_size, split, config.workers), speech
