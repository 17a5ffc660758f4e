"""Stage "diffusion_forcing": trains the causal student of a preset on pairs of drawn talkers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from lipforcing_jax.data import speech_dataset, talker_dataset
from lipforcing_jax.data.acoustics import augment
from lipforcing_jax.data.variation import vary
from lipforcing_jax.distill import diffusion_forcing, train_state
from lipforcing_jax.distill.base import EVERYTHING, split
from lipforcing_jax.distill.diffusion_forcing import Clip
from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask
from lipforcing_jax.models import presets
from lipforcing_jax.models.audio import LogMelEncoder, encode_clip
from lipforcing_jax.models.conditioning import group_audio
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.tiny_vae import TinyVAE, lead_in
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.codec import TinyCodec
from lipforcing_jax.training.loop import fit
from lipforcing_jax.weights import networks, store

HEARD_AT_ONCE = 160
"""Clips per call of the ear; bounds memory."""


def encode_pairs(vae: TinyVAE, shards: list[Path], size: int, folder: Path, looks: int = 0) -> dict[str, np.ndarray]:
    """Latents of all clips, as they are and masked, float16 [(looks + 1) pairs, 2, t, h, w, c].

    Beside the pairs as they were drawn come `looks` variations of each. The latents are kept beside the pictures.
    """
    mask = jnp.asarray(pixel_mask(size), jnp.float32)

    @jax.jit
    def encode(clips):
        frames = lead_in(clips.astype(jnp.float32)).astype(jnp.uint8)
        memory = vae.encoder.memory(2 * clips.shape[0], size, size)
        return stream.look(TinyCodec(vae), frames, mask, memory, jnp.asarray(True))[:2]

    parts = []
    for look in range(looks + 1):
        for number, shard in enumerate(tqdm(shards, desc=f"latents {look}")):
            path = folder / f"{shard.stem}.latents{look}.npz"
            if not path.exists():
                pairs = np.load(shard, mmap_mode="r")
                rng = np.random.default_rng([look, number])
                varied = (vary(pair, rng) if look else np.asarray(pair) for pair in pairs)
                rows = [[np.asarray(x, np.float16) for x in encode(pair)] for pair in varied]
                with path.with_suffix(".partial").open("wb") as file:
                    np.savez(file, seen=np.stack([r[0] for r in rows]), masked=np.stack([r[1] for r in rows]))
                path.with_suffix(".partial").replace(path)
            with np.load(path) as stored:
                parts.append(dict(stored))
    return {name: np.concatenate([p[name] for p in parts]) for name in ("seen", "masked")}


def hear_clips(ear: LogMelEncoder, audio: np.ndarray, versions: int, seed: int) -> np.ndarray:
    """Features of every clip, clean and in `versions` rooms, float16 [versions + 1, n, t, 4a]."""
    grouped = jax.jit(lambda ear, sound: group_audio(encode_clip(ear, sound)))
    heard = []
    for version in range(versions + 1):
        rng = np.random.default_rng([seed, version])
        sound = audio if version == 0 else np.stack([augment(a, rng) for a in tqdm(audio, desc=f"rooms {version}")])
        parts = np.array_split(sound, -(-len(sound) // HEARD_AT_ONCE))
        heard.append(np.concatenate([np.asarray(grouped(ear, part), np.float16) for part in parts]))
    return np.stack(heard)


def channel_visibility(vae: TinyVAE, latents: np.ndarray) -> jax.Array:
    """How much a unit step of each latent channel changes the picture, scaled to mean 1.

    Nano's latents are whitened components: without this weight the last of them, hardly visible, would count as much
    as the brightness of the skin.
    """
    decode = jax.jit(lambda z: vae.decode(z)[0])
    base, steps = decode(latents), jnp.eye(latents.shape[-1])
    gains = jnp.stack([jnp.sqrt(jnp.mean((decode(latents + s) - base) ** 2)) for s in steps])
    return gains / gains.mean()


def silent_clips(mouths: np.ndarray) -> np.ndarray:
    """(pair, side) of the clips whose mouth [pairs, 2, t, 6] stays as it is: nobody speaks."""
    return np.argwhere(np.ptp(mouths, axis=2).max(axis=-1) < 0.01)


def batch_of(
    latents, heard, rng: np.random.Generator, batch: int, frames: int, chunk: int, silent=(), silent_share: float = 0.0
) -> Clip:
    """Random windows of random pairs in random looks, source and target drawn in either direction.

    The reference frame is the first of the source's clip, as at inference. A share of the targets are `silent` clips:
    they are few, and a pause before speech shows a mouth that opens to breathe, so silence must be taught apart.
    """
    looks, length = latents["seen"].shape[0] // (heard.shape[1] // 2), latents["seen"].shape[2]
    pairs, rows = heard.shape[1] // 2, []
    for _ in range(batch):
        i, source = rng.integers(pairs), rng.integers(2)
        if len(silent) and rng.random() < silent_share:
            i, target = silent[rng.integers(len(silent))]
            source = 1 - target
        first = chunk * rng.integers((length - frames) // chunk + 1)
        span = slice(first, first + frames)
        look = rng.integers(looks) * pairs + i
        seen, masked = latents["seen"][look], latents["masked"][look]
        sound = heard[rng.integers(len(heard)), 2 * i + 1 - source, span]
        target, shown = seen[1 - source, span], seen[source]
        rows.append((target, shown[:1], masked[source, span], shown[span], sound))
    return Clip(*(np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)))


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_df.py); returns the weights file."""
    preset = presets.by_name(config.preset)
    make = networks.makers(preset)
    vae = store.load_module(workdir / "tiny_vae.safetensors", make["vae"])
    ear = store.load_module(workdir / "audio.safetensors", make["ear"])
    shards = speech_dataset.build(workdir / "speech", "train", config.speech_clips, config.speech_frames)
    clips = speech_dataset.load(shards)
    count, frames = 2 * config.pairs, 4 * config.latent_frames - 3
    mouths = clips["mouth"][:count, :frames].reshape(config.pairs, 2, frames, -1)
    pictures = talker_dataset.build(workdir / "talkers", mouths, preset.face_size, "train", config.workers)
    latents = encode_pairs(vae, pictures, preset.face_size, workdir / "talkers", config.looks)
    heard = hear_clips(ear, clips["audio"][:count, : frames * 640], config.rooms, config.seed)

    fresh = lambda: DiT(preset.dit, rngs=nnx.Rngs(config.seed))  # noqa: E731
    start = store.load_module(Path(config.start), fresh) if config.start else fresh()
    base, params = split(start, EVERYTHING)
    optimiser = train_state.adamw(config.peak_lr, config.steps, config.warmup, config.weight_decay, config.clip_norm)
    cells = jnp.asarray(latent_mask(preset.latent_size), jnp.float32)
    masks = jnp.asarray(diffusion_forcing.window_masks(config.frames, preset.window.chunk))
    visibility = channel_visibility(vae, latents["seen"][::25, 0, :3].astype(np.float32))
    text = jnp.zeros((1, preset.dit.text_len, preset.dit.text_dim))

    def loss(params, clip, key):
        return diffusion_forcing.loss(
            base, params, clip, cells, masks, key, chunk=preset.window.chunk, t_list=preset.t_list, text=text,
            keep_weight=config.keep_weight, channel_weights=visibility,
        )  # fmt: skip

    silent = silent_clips(mouths)

    def batch_at(i):
        rng = np.random.default_rng([config.seed, i])
        return batch_of(
            latents, heard, rng, config.batch, config.frames, preset.window.chunk, silent, config.silent_share
        )

    state = fit(
        train_state.create(params, optimiser),
        train_state.make_step(loss, optimiser, config.average_decay),
        batch_at,
        steps=config.steps, workdir=workdir / "student", seed=config.seed, save_every=config.save_every,
        evaluate=lambda state: export(base.join(state.average), workdir),
    )  # fmt: skip
    export(base.join(state.average), workdir)
    return workdir / networks.FILES["dit"]


def export(model: DiT, workdir: Path) -> dict[str, float]:
    """Writes the averaged weights beside those of the other stages; a stopped run leaves a usable student."""
    store.save_module(workdir / networks.FILES["dit"], model, np.float16, {"stage": "diffusion_forcing"})
    return {}
