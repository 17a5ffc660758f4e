"""Pairs of talkers: one face, one motion and one camera, speaking two different sentences.

Rendering the same clip with another mouth gives the training pair that inference meets: the source video shows a mouth
at every moment, but not the one that belongs to the sound. (The reference takes another segment of a real video,
because nobody has filmed the same motion twice; spec training 2.2.)
"""

from pathlib import Path

import chex
import cv2
import numpy as np
from tqdm import tqdm

from lipforcing_jax import processes
from lipforcing_jax.data.talkers import render_clips
from lipforcing_jax.whole_file import written_whole

SHARD = 10


def _write_shard(path: Path, seeds: range, mouths: np.ndarray, size: int, split: str) -> None:
    """`SHARD` pairs as uint8 [pairs, 2, t, size, size, 3], drawn by one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        drawn = np.stack([render_clips(i, i, spoken, size, i, split) for i, spoken in zip(seeds, mouths, strict=True)])
    finally:
        cv2.setNumThreads(threads)
    with written_whole(path) as growing, growing.open("wb") as file:
        np.save(file, drawn)


def build(folder: Path, mouths: np.ndarray, size: int, split: str, workers: int = 1, first: int = 0) -> list[Path]:
    """Renders what is missing of the pairs and returns the shards in order.

    Args:
      mouths: [pairs, 2, t, 6], what the two clips of every pair say.
      workers: processes that draw; without any, this one does.
      first: identity, motion and camera seed of the first pair, a multiple of `SHARD`; the others follow it.
    """
    chex.assert_is_divisible(first, SHARD)
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-len(mouths) // SHARD)
    shards = [folder / f"{split}_{mouths.shape[2]}_{first // SHARD + i:04d}.npy" for i in range(count)]
    with processes.pool(workers) as pool:
        jobs = []
        for i, path in enumerate(shards):
            spoken = mouths[i * SHARD : (i + 1) * SHARD]
            seeds = range(first + i * SHARD, first + i * SHARD + len(spoken))
            if not path.exists():
                jobs.append(pool.submit(_write_shard, path, seeds, spoken, size, split))
        for job in tqdm(jobs, desc=f"talkers ({split})", disable=not jobs):
            job.result()
    return shards
