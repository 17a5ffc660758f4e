"""One encoded clip as it is stored, and what a data set says about all of its clips.

A data set is a folder of TFDS with ArrayRecord files (`builder` writes it, `reader` reads it); neither side needs
TensorFlow. Beside its records lie `prompts.npz`, the embeddings of the texts, and `metadata.json`, the `Facts`.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypedDict

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float16, Int16

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.options import SAMPLES_PER_FRAME

NAME = "lipforcing"
FORMAT = 1
PROMPTS = "prompts.npz"
METADATA = "metadata.json"
"""TFDS's own name for it."""
SPLITS = ("train", "val")


class Sample(TypedDict):
    """An encoded clip of `t` latent frames, that is v = 4 t - 3 video frames."""

    target: Float16[np.ndarray, "t h w c"]
    first: Float16[np.ndarray, "1 h w c"]
    """The reference frame: the first latent of what the network is shown (spec training 5.5, ref_latent)."""
    masked: Float16[np.ndarray, "t h w c"]
    reference: Float16[np.ndarray, "t h w c"]
    audio: Float16[np.ndarray, "v a"]
    """Features of the sound, one row per video frame."""
    waveform: Int16[np.ndarray, " n"]
    """16 kHz mono, 640 samples per video frame."""
    prompt: str


@dataclass(frozen=True)
class Facts:
    """What all clips of a data set have in common. `weights` is the hash of the networks that encoded them."""

    preset: str
    face_size: int
    latent_frames: int
    cells: int
    channels: int
    audio_width: int
    weights: str

    @classmethod
    def of(cls, preset: Preset, latent_frames: int, weights: str) -> "Facts":
        """The facts of clips of `latent_frames` encoded by the networks of a preset."""
        channels = (preset.wan_vae or preset.tiny_vae).latent_channels
        cells, width = preset.latent_size, preset.audio.features
        return cls(preset.name, preset.face_size, latent_frames, cells, channels, width, weights)

    @property
    def frames(self) -> int:
        """Video frames of a clip."""
        return 4 * self.latent_frames - 3

    @property
    def bytes(self) -> int:
        """Size of one sample, without its prompt."""
        return sum(np.dtype(f.np_dtype).itemsize * int(np.prod(f.shape)) for f in self.features().values() if f.shape)

    def features(self) -> tfds.features.FeaturesDict:
        """The fields of `Sample` as TFDS stores them: raw bytes, since compressing latents gains nothing."""
        latent = (self.latent_frames, self.cells, self.cells, self.channels)
        shapes = {"target": latent, "first": (1, *latent[1:]), "masked": latent, "reference": latent}
        shapes["audio"] = (self.frames, self.audio_width)
        tensors = {name: _tensor(shape, np.float16) for name, shape in shapes.items()}
        waveform = _tensor((self.frames * SAMPLES_PER_FRAME,), np.int16)
        return tfds.features.FeaturesDict({**tensors, "waveform": waveform, "prompt": tfds.features.Text()})

    def metadata(self) -> tfds.core.MetadataDict:
        """The content of `metadata.json`."""
        return tfds.core.MetadataDict(format=FORMAT, **asdict(self))


def _tensor(shape: tuple[int, ...], dtype) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")


def read_facts(folder: Path) -> Facts:
    """What the data set in a folder says about itself.

    Raises:
      UserError: there is none, it is damaged, or another version wrote it.
    """
    metadata = tfds.core.MetadataDict()
    try:
        metadata.load_metadata(folder)
        found = metadata.pop("format")
    except FileNotFoundError as error:
        raise UserError(f"There is no data set in {folder}; make one by lipforcing data build.") from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The description of the data set in {folder} is damaged; build it again.") from error
    if found != FORMAT or metadata.keys() != {field.name for field in fields(Facts)}:
        raise UserError(f"The data set in {folder} has format {found}, this version reads {FORMAT}; build it again.")
    return Facts(**metadata)


def check_fits(folder: Path, preset: Preset, weights: str | None = None) -> Facts:
    """The facts of a data set that networks of a preset are to be trained on.

    Args:
      weights: hash of the autoencoder and ear that the result will work with, or None where any will do.

    Raises:
      UserError: as `read_facts`; its clips were made for another preset, or by other networks.
    """
    facts = read_facts(folder)
    wanted = Facts.of(preset, facts.latent_frames, weights or facts.weights)
    differing = [f.name for f in fields(Facts) if getattr(facts, f.name) != getattr(wanted, f.name)]
    if differing:
        said = ", ".join(f"{n} {getattr(facts, n)} instead of {getattr(wanted, n)}" for n in differing)
        raise UserError(f"The data set in {folder} does not fit the preset {preset.name}: {said}; build it again.")
    return facts
