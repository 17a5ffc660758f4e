"""Prepared samples (see `prepare`) to encoded ones."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from lipforcing_jax.data import builder, encoding
from lipforcing_jax.data.builder import Keyed
from lipforcing_jax.data.prepare import AUDIO, LISTS, TEXT, VIDEO
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.audio import load_audio
from lipforcing_jax.media.video import read_video
from lipforcing_jax.options import FPS, SAMPLE_RATE
from lipforcing_jax.weights import networks


@dataclass(frozen=True)
class Built:
    """Clips of each split, and a line for every sample that was left out. Beam's workers print theirs themselves."""

    counts: dict[str, int]
    left_out: list[str]
    samples: int


def build(
    samples: Path,
    out: Path,
    preset: str,
    weights: Path | None = None,
    latent_frames: int = 21,
    overwrite: bool = False,
    beam: Sequence[str] | None = None,
) -> Built:
    """Encodes the prepared samples of a folder into a data set at `out`.

    Args:
      beam: options of Beam, which then encodes and writes; None does it in this process.

    Raises:
      UserError: as `read_lists`, `encoding.load` and `builder.build`.
    """
    sources = read_lists(samples)
    left_out: list[str] = []
    encode = EncodeSample(preset, weights, latent_frames, left_out.append if beam is None else _tell)
    facts, prompts = encode.encoder.facts(latent_frames), encode.encoder.prompts
    if beam is None:
        splits = {split: _encoded(encode, split, folders) for split, folders in sources.items()}
        counts = builder.build(out, facts, prompts, splits, overwrite)
    else:
        counts = builder.build_by_beam(out, facts, prompts, sources, encode, overwrite, beam)
    return Built(counts, left_out, sum(map(len, sources.values())))


def _encoded(encode: "EncodeSample", split: str, folders: list[Path]) -> Iterator[Keyed]:
    for folder in tqdm(folders, desc=f"samples ({split})", unit="clip", disable=None):
        yield from encode(folder)


def _tell(line: str) -> None:
    """What a worker of Beam has to say."""
    print(f"left out: {line}", file=sys.stderr, flush=True)


class EncodeSample:
    """Encodes the sample in a folder; one that can't be used is told to `left_out` instead.

    Travels to Beam's workers as its arguments: the networks are loaded where and when the first sample comes.
    """

    def __init__(self, preset: str, weights: Path | None, latent_frames: int, left_out: Callable[[str], None]):
        self.arguments = (preset, weights, latent_frames, left_out)

    def __reduce__(self):
        return EncodeSample, self.arguments

    @cached_property
    def encoder(self) -> encoding.Encoder:
        """The networks of the preset."""
        preset, weights, *_ = self.arguments
        return encoding.load(networks.find(preset), weights)

    def __call__(self, folder: Path) -> Iterator[Keyed]:
        *_, latent_frames, left_out = self.arguments
        try:
            frames = load_frames(folder, self.encoder.preset.face_size)
            sound = load_audio(folder / AUDIO, SAMPLE_RATE)
            prompt = (folder / TEXT).read_text().strip() if (folder / TEXT).is_file() else encoding.PROMPT
            sample = encoding.sample_of(self.encoder, frames, sound, prompt, latent_frames, folder.name)
        except UserError as error:
            left_out(str(error))
            return
        yield folder.name, sample


def load_frames(folder: Path, size: int) -> UInt8[np.ndarray, "t s s 3"]:
    """All frames of a sample's video at `size` x `size`."""
    frames = list(read_video(folder / VIDEO, FPS))
    if frames[0].shape[:2] == (size, size):
        return np.stack(frames)
    way = cv2.INTER_AREA if size < frames[0].shape[0] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=way) for frame in frames])


def read_lists(samples: Path) -> dict[str, list[Path]]:
    """The sample folders of each split. A list that was moved along with its folder is understood.

    Raises:
      UserError: there are no lists, or they name folders that do not exist.
    """
    splits = {}
    for split, name in LISTS.items():
        path = samples / name
        if not path.is_file():
            raise UserError(f"There is no {name} in {samples}; make samples by lipforcing data prepare.")
        named = [Path(line) for line in path.read_text().split("\n") if line.strip()]
        splits[split] = [p if p.is_dir() else samples / p.name for p in named]
        missing = [p for p in splits[split] if not p.is_dir()]
        if missing or not named:
            what = f"names {missing[0]}, which does not exist" if missing else "names no sample"
            raise UserError(f"{path} {what}; prepare the samples again.")
    return splits
