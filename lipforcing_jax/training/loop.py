"""One loop for every training stage: resume, step, report, keep, stop cleanly."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from tqdm import tqdm

from lipforcing_jax.distill.train_state import TrainState


@contextmanager
def stop_request():
    """Yields a callable that tells whether SIGTERM or SIGINT has asked the run to end."""
    seen = []
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda number, frame: seen.append(number)) for name in names]
    try:
        yield lambda: bool(seen)
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def fit(
    state: TrainState,
    step: Callable[[TrainState, Any, jax.Array], tuple[TrainState, dict[str, jax.Array]]],
    batch_at: Callable[[int], Any],
    *,
    steps: int,
    workdir: Path,
    seed: int,
    log_every: int = 20,
    save_every: int = 200,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
) -> TrainState:
    """Trains up to `steps` updates, going on from the newest checkpoint in `workdir`.

    Args:
      batch_at: the batch of update i, a pure function of i, so that a resumed run sees what an unbroken one would.
      evaluate: called at every save; its numbers go into the log beside the training metrics.

    Writes `workdir/metrics.jsonl` and `workdir/checkpoints`. On SIGTERM or SIGINT it saves and returns.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
    key = jax.random.key(seed)
    folder = (workdir / "checkpoints").resolve()
    with ocp.CheckpointManager(folder, options=options) as manager, stop_request() as asked:
        if manager.latest_step() is not None:
            state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(state))
        first, seen = int(state.step), []
        with (workdir / "metrics.jsonl").open("a") as log, tqdm(total=steps, initial=first, desc=workdir.name) as bar:
            for i, batch in prefetch(batch_at, range(first, steps)):
                state, metrics = step(state, batch, jax.random.fold_in(key, i))
                seen.append(metrics)
                bar.update()
                done = i + 1
                if done % log_every == 0 or done == steps:
                    row = {name: float(np.mean([m[name] for m in seen])) for name in metrics}
                    bar.set_postfix({name: f"{value:.4g}" for name, value in row.items()})
                    seen.clear()
                    rate = bar.format_dict["rate"]
                    log.write(json.dumps({"step": done, "steps_per_second": rate, **row}) + "\n")
                    log.flush()
                if done % save_every == 0 or done == steps or asked():
                    manager.save(done, args=ocp.args.StandardSave(state))
                    if evaluate:
                        log.write(json.dumps({"step": done, **evaluate(state)}) + "\n")
                        log.flush()
                if asked():
                    break
    return state


def prefetch(batch_at: Callable[[int], Any], indices: range) -> Iterator[tuple[int, Any]]:
    """Prepares the next batch on another thread while the current one is used."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(batch_at, indices[0]) if len(indices) else None
        for i in indices:
            batch = ahead.result()
            if i + 1 < indices.stop:
                ahead = pool.submit(batch_at, i + 1)
            yield i, batch
