"""A stage 2 of the smallest size that kills itself: `python interrupted_run.py FOLDER STEPS KILL_AT`.

It dies in update KILL_AT, while the checkpoint before it may still be on its way to the disk.
"""

import os
import signal
import sys
from pathlib import Path

import grain
import jax.numpy as jnp
import numpy as np
import tiny_stage2 as tiny

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import distillation, optimisers
from lipforcing_jax.distill.reward import RewardConfig
from lipforcing_jax.distill.self_forcing import Recipe
from lipforcing_jax.training import devices
from lipforcing_jax.training.loop import fit
from lipforcing_jax.training.self_forcing import Fixed, Rules, make_advance


def clip(index: int) -> Batch:
    """One clip of noise as a batch."""
    told = tiny.condition(1)
    noisy = lambda array: np.asarray(array) + np.float32(0.01 * index)  # noqa: E731
    return Batch(
        noisy(told.masked_video), noisy(told.ref_latent), noisy(told.masked_video), noisy(told.ref_sequence),
        noisy(told.audio), np.asarray(tiny.cepstra(1)), np.zeros((1, 8), np.int16), np.zeros(1, np.int32),
    )  # fmt: skip


def pieces(
    reward: RewardConfig | None = None, rules: Rules = Rules(2), teacher_seed: int = 3, eps=1e-8, mesh=None  # noqa: B008
):
    """State and update of the smallest stage 2."""
    base, student = tiny.network()
    teacher = tiny.filled(student, teacher_seed)
    told = tiny.condition(1)
    judge = None if reward is None else tiny.judge()
    fixed = devices.place(Fixed(base, teacher, judge, told.mask, told.text, jnp.zeros_like(told.text)), mesh)
    optimise = distillation.Optimisers(
        optimisers.adamw(1e-3, 0.0, 0.999, eps, 0.01, 10.0), optimisers.adamw(1e-3, 0.0, 0.999, eps, 0.01)
    )
    recipe = Recipe(window=tiny.WINDOW, t_list=(0.999, 0.0), reward=reward)
    state = devices.place(distillation.create(student, teacher, optimise), mesh)
    return state, make_advance(fixed, recipe, optimise, rules)


def batches(seed: int = 0) -> grain.DatasetIterator:
    """Clips in a shuffled order that depends on where one is."""
    return iter(grain.MapDataset.range(5).seed(seed).shuffle().repeat().map(clip).to_iter_dataset())


def run(folder: Path, steps: int, kill_at: int | None = None) -> distillation.Distillation:
    """Trains in `folder`; a checkpoint follows every update."""
    state, advance = pieces()

    def deadly(state, draws, key):
        if kill_at is not None and int(state.step) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(state, draws, key)

    return fit(state, deadly, batches(), steps=steps, workdir=folder, seed=7, accumulation=2, save_every=1)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
