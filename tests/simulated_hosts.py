"""One process of a run of several, which share four simulated devices: trains a small problem by the host loop.

Arguments: problem, port, number of this process, number of processes, folder, mesh, updates, rate, and one more for a
process that is to be lost.
"""

import gc
import os
import signal
import sys
import threading
from pathlib import Path

problem, port, number, processes, folder, mesh_text, steps, rate, *lost = sys.argv[1:]
os.environ |= {
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={4 // int(processes)}",
    "JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": processes,
    "JAX_PROCESS_ID": number,
}  # fmt: skip

gc.disable()  # It ends soon, and makes many objects until then.
sys.modules["torch"] = None  # The writer for TensorBoard would load it, and do without it as well.

import interrupted_run  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import tiny_stage2 as tiny  # noqa: E402

from lipforcing_jax.distill import train_state  # noqa: E402
from lipforcing_jax.distill.self_forcing import Recipe  # noqa: E402
from lipforcing_jax.errors import UserError  # noqa: E402
from lipforcing_jax.training import devices  # noqa: E402
from lipforcing_jax.training.conditions import condition_of  # noqa: E402
from lipforcing_jax.training.loop import drawn, fit  # noqa: E402
from lipforcing_jax.training.validation import Validation  # noqa: E402

BATCH, WIDTH, SAVE_EVERY = 4, 16, 3
"""One sample for each device: a process has fewer than there are shares."""


class Config(dict):
    batch, mesh = BATCH, mesh_text


def mine(mesh) -> slice:
    """The rows of a batch that this process reads; together they lie in the order of one process's."""
    part = devices.share(mesh)
    rows = BATCH // part["hosts"]
    return slice(part["host"] * rows, (part["host"] + 1) * rows)


def linear(mesh):
    """A matrix that learns to be the identity."""

    def loss(params, batch, key):
        kernel = params["ffn_in"]["kernel"]
        return jnp.mean((batch @ kernel - batch) ** 2), {}

    def samples(index: int) -> np.ndarray:
        return np.random.default_rng(index).standard_normal((BATCH, WIDTH)).astype(np.float32)[mine(mesh)]

    optimiser = optax.adam(float(rate))
    state = train_state.create({"ffn_in": {"kernel": jnp.zeros((WIDTH, WIDTH))}}, optimiser, averaged=False)
    return devices.place(state, mesh), train_state.make_step(loss, optimiser, None), samples, None


def stage2(mesh):
    """Stage 2 on the smallest networks, and pictures of its student. Adam's quotient is kept near its argument: the
    usual one makes of a rounding error of a gradient near 0 a whole step."""

    def samples(index: int):
        clips = [interrupted_run.clip(BATCH * index + row) for row in range(BATCH)[mine(mesh)]]
        return jax.tree.map(lambda *rows: np.concatenate(rows), *clips)

    base, told = devices.place(tiny.network()[0], mesh), tiny.condition(1)
    recipe = Recipe(window=tiny.WINDOW, t_list=(0.999, 0.0), reward=None)
    vae = devices.everywhere(tiny.judge().vae, mesh)
    clip = interrupted_run.clip(0)
    looked_at = Validation(clip, condition_of(clip, told.mask, told.text), recipe, vae, None, Path(folder) / "samples")
    draw = lambda state, step: looked_at.draw(base, state.student, step)  # noqa: E731
    return *interrupted_run.pieces(eps=1.0, mesh=mesh), samples, draw


class Lost:
    """Ends this process in the midst of writing its first checkpoint, when all of them have come to the second one: the
    others wait at a barrier for it."""

    def __init__(self):
        self.at_the_second = threading.Event()
        jax.monitoring.register_event_duration_secs_listener(self.hear)

    def hear(self, event: str, *_, **__) -> None:
        if event.endswith("async/commit_duration_sec"):
            self.at_the_second.wait()
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluate(self, state) -> dict[str, float]:
        if int(state.step) == 2 * SAVE_EVERY:
            self.at_the_second.set()
        return {}


def main() -> None:
    if int(processes) > 1:
        devices.join_processes(patience=10)
    mesh = devices.mesh_of(Config(mesh=mesh_text), heads=4)
    state, advance, samples, draw = {"linear": linear, "stage2": stage2}[problem](mesh)
    state = fit(
        state, advance, drawn(samples), steps=int(steps), workdir=Path(folder), seed=0, save_every=SAVE_EVERY,
        log_every=1, record={"rate": rate}, sample=draw, sample_every=1, mesh=mesh,
        evaluate=Lost().evaluate if lost else None,
    )  # fmt: skip
    leaves = jax.tree.leaves(devices.whole(state.params if problem == "linear" else (state.student, state.critic)))
    if devices.first_process():
        np.save(Path(folder) / "trained.npy", np.concatenate([np.asarray(leaf).ravel() for leaf in leaves]))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(2)
