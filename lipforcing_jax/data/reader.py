"""Encoded clips as endless batches: shuffled, sharded by host, cut into windows, prefetched, resumable.

The position of the iterator is what grain's `get_state` returns; one that is made alike and given this state by
`set_state` goes on with the same batches.
"""

from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import flags
from jaxtyping import Float16, Float32

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.data.sample import PROMPTS, read_facts
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.mfcc import mfcc
from lipforcing_jax.models.conditioning import FRAMES_PER_LATENT
from lipforcing_jax.options import SAMPLES_PER_FRAME

READ_AHEAD = 2
"""Batches that are ready, or being made, before they are asked for."""


@dataclass(frozen=True)
class Reading:
    """How a data set is read.

    Of every clip a random window of `frames` latent frames is cut, from a multiple of `chunk` on; None takes whole
    clips. Each of `hosts` reads its own share of every epoch. `batch` clips make a batch of one host. `workers`
    processes prepare the batches, or two threads of this process where it is 0.
    """

    batch: int
    frames: int | None = None
    chunk: int = 3
    seed: int = 0
    shuffle: bool = True
    host: int = 0
    hosts: int = 1
    workers: int = 0


def read(folder: Path, split: str, reading: Reading) -> grain.DatasetIterator[Batch]:
    """Batches of a split without end; every epoch comes in an order of its own, and windows are drawn anew.

    Raises:
      UserError: there is no data set, no such split, fewer clips than hosts, or its clips are shorter than a window.
    """
    facts = read_facts(folder)
    source = _source(folder, split)
    frames = facts.latent_frames if reading.frames is None else reading.frames
    if not 0 < frames <= facts.latent_frames:
        raise UserError(
            f"The clips in {folder} have {facts.latent_frames} latent frames, so windows of {frames} can't be cut; "
            f"choose 1 to {facts.latent_frames} frames."
        )
    if len(source) < reading.hosts:
        raise UserError(f"The split {split} in {folder} has {len(source)} clips, too few for {reading.hosts} hosts.")
    rows = {text: row for row, text in enumerate(_load_prompts(folder)["texts"].tolist())}

    def window(sample: dict, rng: np.random.Generator) -> Batch:
        first = reading.chunk * int(rng.integers((facts.latent_frames - frames) // reading.chunk + 1))
        return cut(sample, rows[sample["prompt"].decode()], first, frames)

    clips = grain.MapDataset.source(source).seed(reading.seed)
    clips = clips.shuffle() if reading.shuffle else clips
    clips = clips[reading.host :: reading.hosts].repeat().random_map(window)
    batches = clips.batch(reading.batch, drop_remainder=True, batch_fn=_stack)
    options = grain.ReadOptions(num_threads=READ_AHEAD, prefetch_buffer_size=READ_AHEAD)
    batches = batches.to_iter_dataset(options)
    return iter(in_processes(batches, reading.workers) if reading.workers else batches)


def in_processes(batches: grain.IterDataset, count: int) -> grain.IterDataset:
    """The same batches, prepared by `count` processes."""
    flags.FLAGS.mark_as_parsed()  # grain asks absl for the defaults of its own flags
    return batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=count))


def count(folder: Path, split: str) -> int:
    """Clips of a split. Raises UserError where it does not exist."""
    return len(_source(folder, split))


def prompts(folder: Path) -> Float32[np.ndarray, "p l d"]:
    """Embeddings of the prompts, which `Batch.prompt` counts. Raises UserError where they are missing or damaged."""
    return _load_prompts(folder)["embeddings"].astype(np.float32)


def cut(sample: dict[str, np.ndarray], prompt: int, first: int, frames: int) -> Batch:
    """The window of `frames` latent frames from `first` on, without the batch axis.

    Its sound is that of the video frames 4 first ... 4 (first + frames) - 4, which the decoder gives when it draws the
    window alone and its first three pictures are dropped.
    """
    span = slice(first, first + frames)
    start = FRAMES_PER_LATENT * first
    stop = start + FRAMES_PER_LATENT * frames - (FRAMES_PER_LATENT - 1)
    sound = sample["waveform"][start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]
    return Batch(
        target=_float(sample["target"][span]),
        ref_latent=_float(sample["first"]),
        masked_video=_float(sample["masked"][span]),
        ref_sequence=_float(sample["reference"][span]),
        audio=_float(grouped(sample["audio"])[span]),
        cepstra=_float(mfcc(sound)),
        waveform=sound,
        prompt=np.int32(prompt),
    )


def grouped(audio: Float16[np.ndarray, "v a"]) -> Float16[np.ndarray, "t 4a"]:
    """`models.conditioning.group_audio` of one clip, on the host."""
    lead = np.repeat(audio[:1], FRAMES_PER_LATENT - 1, axis=0)
    return np.concatenate([lead, audio]).reshape(-1, FRAMES_PER_LATENT * audio.shape[1])


def _float(x: np.ndarray) -> Float32[np.ndarray, "..."]:
    return x.astype(np.float32)


def _stack(clips: list[Batch]) -> Batch:
    return Batch(*(np.stack(column) for column in zip(*clips, strict=True)))


def _source(folder: Path, split: str):
    """Random access to the stored samples of a split."""
    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        names = ", ".join(builder.info.splits)
        raise UserError(f"The data set in {folder} has no split {split!r}; it has {names}.")
    return builder.as_data_source(split=split)


def _load_prompts(folder: Path) -> dict[str, np.ndarray]:
    path = folder / PROMPTS
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in ("texts", "embeddings")}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The prompts of the data set, {path}, are missing or damaged; build it again.") from error
