"""One process of a run of several, on two simulated devices: trains a small problem by the host loop.

Arguments: port, number of this process, number of processes, folder, mesh, updates, rate.
"""

import os
import sys
from pathlib import Path

port, number, processes, folder, mesh_text, steps, rate = sys.argv[1:]
os.environ |= {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 // int(processes)}", "JAX_PLATFORMS": "cpu",
    "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": processes, "JAX_PROCESS_ID": number,
}  # fmt: skip

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from lipforcing_jax.distill import train_state  # noqa: E402
from lipforcing_jax.errors import UserError  # noqa: E402
from lipforcing_jax.training import devices  # noqa: E402
from lipforcing_jax.training.loop import drawn, fit  # noqa: E402

BATCH, WIDTH = 4, 16
"""One sample for each device: a process has fewer than there are shares."""


class Config(dict):
    batch, mesh = BATCH, mesh_text


def samples(index: int) -> np.ndarray:
    """The rows of the batch that this process reads."""
    part = devices.share()
    rows = np.random.default_rng(index).standard_normal((BATCH, WIDTH)).astype(np.float32)
    return rows[part["host"] :: part["hosts"]]


def loss(params, batch, key):
    kernel = params["ffn_in"]["kernel"]
    return jnp.mean((batch @ kernel - batch) ** 2), {}


def main() -> None:
    if int(processes) > 1:
        devices.join_processes(patience=10)
    mesh = devices.mesh_of(Config(mesh=mesh_text), heads=4)
    optimiser = optax.adam(float(rate))
    state = train_state.create({"ffn_in": {"kernel": jnp.zeros((WIDTH, WIDTH))}}, optimiser, averaged=False)
    state = devices.place(state, mesh)
    held = state.params["ffn_in"]["kernel"].addressable_shards[0].data.shape
    state = fit(
        state, train_state.make_step(loss, optimiser, None), drawn(samples), steps=int(steps), workdir=Path(folder),
        seed=0, save_every=3, log_every=1, record={"rate": rate}, mesh=mesh,
    )  # fmt: skip
    kernel = devices.whole(state.params)["ffn_in"]["kernel"]
    if devices.first_process():
        np.save(Path(folder) / "kernel.npy", np.asarray(kernel))
        print("held", held, "of", kernel.shape)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(2)
