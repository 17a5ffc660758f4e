"""`lipforcing` with one more stage, `small`, that trains three numbers: `python small_stage.py train --config ...`."""

import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax

from lipforcing_jax import cli
from lipforcing_jax.distill import train_state
from lipforcing_jax.training import run
from lipforcing_jax.training.loop import drawn, fit


def loss(params, batch, key):
    return jnp.sum((params["w"] - batch) ** 2), {}


def train(config, workdir: Path) -> Path:
    optimiser = optax.adam(0.1)
    state = fit(
        train_state.create({"w": jnp.zeros(3)}, optimiser), train_state.make_step(loss, optimiser, None),
        drawn(lambda i: np.full(3, i % 7, np.float32)), steps=config.steps, workdir=workdir / "small", seed=0,
        log_every=1, save_every=10**9, record=config.to_dict(),
    )  # fmt: skip
    np.save(workdir / "small.npy", state.params["w"])
    return workdir / "small.npy"


if __name__ == "__main__":
    stage = types.ModuleType("lipforcing_jax.training.small")
    stage.train = train
    sys.modules[stage.__name__] = stage
    run.STAGES["small"] = "small"
    status = cli.main()
    import jax

    print(f"compiled: {jax.config.jax_compilation_cache_dir}")
    sys.exit(status)
