"""Aligned pictures and their sound to the latents and features of a data set (spec training 5.5)."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float16, Float32, Int16, UInt8

from lipforcing_jax.data.builder import Prompts
from lipforcing_jax.data.sample import Facts, Sample
from lipforcing_jax.errors import UserError
from lipforcing_jax.listening import FeatureListener
from lipforcing_jax.media.mouth_mask import pixel_mask
from lipforcing_jax.models.audio import LogMelEncoder, encode_clip
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.tiny_vae import lead_in
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.codec import Codec, TinyCodec, WanCodec
from lipforcing_jax.sampling.plan import LEAD, plan
from lipforcing_jax.weights import converted, networks, parts, store

PROMPT = "a person talking"
Latents = Float16[np.ndarray, "b t h w c"]


class Encoder:
    """The autoencoder and the ear of a preset, for whole clips of a data set.

    Attributes:
      preset: at the sizes of the loaded networks.
      prompts: the texts that can be told to the network, with their embeddings.
      weights: hash of the networks, by which a data set names them.
    """

    def __init__(self, preset: Preset, codec: Codec, ear: LogMelEncoder | Wav2Vec2, prompts: Prompts, weights: str):
        self.preset, self.codec, self.prompts, self.weights = preset, codec, prompts, weights
        self._ear, self._mask = ear, jnp.asarray(pixel_mask(preset.face_size), jnp.float32)
        self._look, self._see, self._hear = jax.jit(_look), jax.jit(_see), jax.jit(encode_clip)

    def facts(self, latent_frames: int) -> Facts:
        """What a data set of such clips says about itself."""
        return Facts.of(self.preset, latent_frames, self.weights)

    def look(self, frames: UInt8[np.ndarray, "b v s s 3"]) -> tuple[Latents, Latents]:
        """Latents of the frames as they are and with the mouth greyed out in all of them; v = 4 t - 3."""
        seen, masked = self._look(self.codec, jnp.asarray(frames), self._mask)
        return np.asarray(seen, np.float16), np.asarray(masked, np.float16)

    def see(self, frames: UInt8[np.ndarray, "b v s s 3"]) -> Latents:
        """Latents of the frames as they are."""
        return np.asarray(self._see(self.codec, jnp.asarray(frames)), np.float16)

    def hear(self, sound: Float32[np.ndarray, " n"], frames: int) -> Float16[np.ndarray, "v a"]:
        """Features of the first `frames` video frames of a sound at 16 kHz, which is heard to its end."""
        if isinstance(self._ear, Wav2Vec2):
            whole = plan(max(frames, len(sound) // SAMPLES_PER_FRAME), self.preset.window.chunk)
            chunks = FeatureListener(self.preset, self._ear).chunks(sound, whole)
            return np.concatenate([chunk[0].astype(np.float16) for chunk in chunks])[LEAD : LEAD + frames]
        padded = np.pad(sound, (0, max(0, frames * SAMPLES_PER_FRAME - len(sound))))
        return np.asarray(self._hear(self._ear, padded[None])[0, :frames], np.float16)


def load(preset: Preset, folder: Path | None = None) -> Encoder:
    """The encoder of a preset from a folder of weights; nano's from the package where none is given.

    Raises:
      UserError: as `weights.networks.load`; the student itself need not be there.
    """
    if preset.hears_samples:
        paths = _nano_files(preset, folder)
        make = networks.makers(preset)
        vae, ear = (store.load_module(path, make[part]) for path, part in zip(paths, ("vae", "ear"), strict=True))
        silence = np.zeros((1, preset.dit.text_len, preset.dit.text_dim), np.float16)
        return Encoder(preset, TinyCodec(vae), ear, Prompts([PROMPT], silence), weights_hash(preset, folder))
    if folder is None:
        raise UserError(f"The preset {preset.name} has no bundled weights; give converted ones by --weights.")
    manifest = converted.read_manifest(folder)
    sizes = {name: converted.config_of(manifest, part) for part, name in (("vae", "wan_vae"), ("wav2vec2", "audio"))}
    preset, dtype = replace(preset, **sizes), networks.compute_dtype()
    vae = converted.load_part(folder, "vae", lambda: WanVAE(preset.wan_vae, dtype=dtype, rngs=nnx.Rngs(0)))
    ear = converted.load_part(folder, "wav2vec2", lambda: Wav2Vec2(preset.audio, rngs=nnx.Rngs(0)))
    text = converted.config_of(manifest, parts.TEXT).prompt or PROMPT
    prompts = Prompts([text], converted.load_text(folder))
    return Encoder(preset, WanCodec(vae), ear, prompts, weights_hash(preset, folder))


def weights_hash(preset: Preset, folder: Path | None = None) -> str:
    """The name of the networks that encode a data set: a hash of what they were stored in or converted from."""
    if preset.hears_samples:
        return store.sha256(_nano_files(preset, folder))
    manifest = converted.parse_manifest(folder)
    sources = [asdict(origin) for part in ("vae", "wav2vec2") for origin in manifest.parts[part].sources]
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def sample_of(
    encoder: Encoder, frames: UInt8[np.ndarray, "v s s 3"], sound: Float32[np.ndarray, " n"], prompt: str,
    latent_frames: int, name: str,
) -> Sample:  # fmt: skip
    """A filmed clip: its beginning is the target, another segment of it the reference (spec training 5.5).

    The reference is the segment that follows the target, or as much of it as the clip holds: its last frames.

    Args:
      name: what messages call the clip.

    Raises:
      UserError: the clip is too short for a reference that differs from the target (trap T3), or does not change; its
        sound ends before the target; the encoder has no embedding of the prompt.
    """
    length = 4 * latent_frames - 3
    start = reference_start(len(frames), length)
    target, reference = frames[:length], frames[start : start + length]
    if start == 0 or np.array_equal(target, reference):
        raise UserError(
            f"The reference of {name} would equal its target, which teaches copying: it has {len(frames)} frames and "
            f"{2 * length} that move are best; leave it out or give a longer clip."
        )
    if len(sound) < length * SAMPLES_PER_FRAME:
        raise UserError(f"The sound of {name} ends before its picture; leave it out or prepare it again.")
    if prompt not in encoder.prompts.texts:
        raise UserError(
            f"The weights hold no embedding of the prompt {prompt!r} of {name}, only of {encoder.prompts.texts[0]!r}; "
            "change its prompt.txt or convert the weights with --prompt."
        )
    (seen,), (masked,) = encoder.look(target[None])
    return Sample(
        target=seen, first=seen[:1], masked=masked, reference=encoder.see(reference[None])[0],
        audio=encoder.hear(sound, length), waveform=to_int16(sound[: length * SAMPLES_PER_FRAME]), prompt=prompt,
    )  # fmt: skip


def reference_start(frames: int, length: int) -> int:
    """Where the reference of `length` frames begins: after the target, or as late as it can (spec training 5.5)."""
    return length if frames >= 2 * length else max(0, frames - length)


def to_int16(sound: Float32[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    """Samples in [-1, 1] at 16-bit size, as `speech_dataset` and wave files round them."""
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def _nano_files(preset: Preset, folder: Path | None) -> list[Path]:
    folder = networks.bundled_folder(preset) if folder is None else folder
    return [folder / networks.FILES[part] for part in ("vae", "ear")]


def _look(codec: Codec, frames, mask):
    memory = codec.encoder_memory(2 * frames.shape[0], frames.shape[2])
    return stream.look(codec, lead_in(frames), mask, memory, jnp.asarray(True))[:2]


def _see(codec: Codec, frames):
    memory = codec.encoder_memory(frames.shape[0], frames.shape[2])
    return codec.encode(lead_in(frames).astype(jnp.float32) / 255, memory, jnp.asarray(True))[0]
