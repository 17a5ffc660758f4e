"""A folder of spoken clips for training: sound, its mouth, and the phones, written once and read many times."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from lipforcing_jax import processes
from lipforcing_jax.data.articulation import MouthStyle
from lipforcing_jax.data.phones import INVENTORY
from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.data.speech_samples import FPS, sample_utterance
from lipforcing_jax.whole_file import written_whole

SHARD = 32


def phone_ids(phones, frames: int) -> np.ndarray:
    """Index of the phone sounding in the middle of every video frame, int16 [frames]."""
    index = {label: i for i, label in enumerate(sorted(INVENTORY))}
    middle = (np.arange(frames) + 0.5) / FPS
    ids = np.full(frames, index["pau"], np.int16)
    for phone in phones:
        ids[(middle >= phone.start) & (middle < phone.end)] = index[phone.label]
    return ids


def _write_shard(path: Path, seeds: range, split: str, frames: int) -> None:
    """`SHARD` clips in one file; the average speaker's mouth, since no sound tells how far somebody opens it."""
    engines = available_engines()
    clips = [sample_utterance(s, split, frames / FPS, engines=engines, style=MouthStyle()) for s in seeds]
    with written_whole(path) as growing, growing.open("wb") as file:
        np.savez(
            file,
            audio=np.stack([np.round(np.clip(a, -1, 1) * 32767).astype(np.int16) for a, _, _ in clips]),
            mouth=np.stack([m.astype(np.float16) for _, _, m in clips]),
            phones=np.stack([phone_ids(p, frames) for _, p, _ in clips]),
        )


def build(folder: Path, split: str, clips: int, frames: int, workers: int = 1) -> list[Path]:
    """Writes what is missing of `clips` clips of `frames` video frames and returns the shards in order.

    The same arguments give the same clips wherever the same speech engines are installed.

    Args:
      workers: processes that make them; without any, this one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{split}_{frames}_{i:04d}.npz" for i in range(-(-clips // SHARD))]
    missing = [(p, range(i * SHARD, (i + 1) * SHARD)) for i, p in enumerate(shards) if not p.exists()]
    with processes.pool(workers) as pool:
        jobs = [pool.submit(_write_shard, path, seeds, split, frames) for path, seeds in missing]
        for job in tqdm(jobs, desc=f"speech ({split})", disable=not jobs):
            job.result()
    return shards


def load(shards: list[Path]) -> dict[str, np.ndarray]:
    """All clips of the shards: audio float32 [n, samples], mouth float32 [n, frames, 6], phones int [n, frames]."""
    parts = [np.load(path) for path in shards]
    return {
        "audio": np.concatenate([p["audio"] for p in parts]).astype(np.float32) / 32767,
        "mouth": np.concatenate([p["mouth"] for p in parts]).astype(np.float32),
        "phones": np.concatenate([p["phones"] for p in parts]).astype(np.int32),
    }
