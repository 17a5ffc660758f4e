"""One loop for every training stage: resume, step, report, keep, stop cleanly."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import grain
import jax
from jax.sharding import Mesh
from tqdm import tqdm

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.data.reader import in_processes
from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.parallel import sharding
from lipforcing_jax.processes import stop_request
from lipforcing_jax.sampling.plan import LEAD
from lipforcing_jax.training import devices
from lipforcing_jax.training.checkpoints import Checkpoints, check_record
from lipforcing_jax.training.companions import companions
from lipforcing_jax.training.metrics import MetricsLog, counts, memory_gb

State = TypeVar("State")
Advance = Callable[[State, list, jax.Array], tuple[State, dict[str, jax.Array]]]


def drawn(batch_at: Callable[[int], Any], processes: int = 0) -> grain.DatasetIterator:
    """Batches that are functions of their number, made ahead on another thread or, if asked for, by other processes."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    batches = grain.MapDataset.range(1 << 40).map(batch_at).to_iter_dataset(options)
    if processes:
        batches = in_processes(batches, processes)
    return iter(batches)


def fit(
    state: State,
    advance: Advance,
    batches: grain.DatasetIterator,
    *,
    steps: int,
    workdir: Path,
    seed: int,
    accumulation: int = 1,
    log_every: int = 20,
    save_every: int = 200,
    keep: int = 2,
    best: str | None = None,
    evaluate: Callable[[State], dict[str, float]] | None = None,
    sample: Callable[[State, int], None] | None = None,
    sample_every: int = 0,
    record: dict | None = None,
    max_skipped: int | None = None,
    mesh: Mesh | None = None,
) -> State:
    """Trains up to `steps` updates, going on from the newest checkpoint in `workdir`.

    Stopped at any point and started again, a run ends with the numbers of an unbroken one: a checkpoint holds the state
    and the place in the data, and the key of update i follows from the seed and i.

    Args:
      state: a NamedTuple with a field `step`. advance: one update, by `accumulation` batches and the update's key.
      batches: endless.
      evaluate: called at every save; its numbers are logged, and `best` names the one by which a checkpoint is kept
        beside the newest `keep`, with a minus sign where less is better.
      sample: called with the state and the number of updates every `sample_every` updates, to draw pictures.
      record: what the run was started with; going on with something else is refused.
      max_skipped: how many samples or updates with numbers that are not finite may be left out.
      mesh: over which the state lies; batches are put on it. Of several processes the first one writes the files, and
        the others' numbers go to folders of their own.

    Writes metrics.jsonl, tensorboard/, checkpoints/ and record.json in `workdir`.

    Raises:
      Stopped: SIGTERM or SIGINT came before the last update; this one is saved.
      UserError: the record differs, a checkpoint can't be read or written, or too much was skipped.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if record is not None:
        devices.check_agreement(record)
        check_record(workdir, record)
    log_folder = workdir if devices.first_process() else workdir / f"process_{jax.process_index()}"
    log_folder.mkdir(exist_ok=True)
    key, skipped = jax.random.key(seed), 0.0
    with (
        Checkpoints(workdir / "checkpoints", keep, best) as checkpoints,
        MetricsLog(log_folder) as log,
        stop_request() as asked_here,
        sharding.current(mesh),
        companions(),
    ):
        state = checkpoints.restore(state, batches)
        first = int(state.step)
        with tqdm(total=steps, initial=first, desc=workdir.name, unit="update") as bar:
            clock, under_way = Clock(), None
            for i in range(first, steps):
                draws = [devices.together(next(batches), mesh) for _ in range(accumulation)]
                state, metrics = advance(state, draws, jax.random.fold_in(key, i))
                log.add(metrics)
                # One update is under way while the next one is prepared, and no more: else the bar would tell what has
                # been asked for instead of what is done, and who asks for the end would wait for all of it. Several
                # processes wait for each other in `anyone`.
                if jax.process_count() == 1:
                    jax.block_until_ready(under_way)
                under_way = metrics
                bar.update()
                clock.count(draws)
                done, asked = i + 1, devices.anyone(asked_here())
                last = done == steps or asked
                if last or done % log_every == 0:
                    row = log.collect()
                    skipped += sum(value for name, value in row.items() if counts(name))
                    bar.set_postfix({name: f"{value:.4g}" for name, value in row.items() if not counts(name)})
                    log.write(done, row | clock.rates() | {"memory_gb": memory_gb(), "skipped_in_all": skipped})
                if last or done % save_every == 0:
                    numbers = evaluate(state) if evaluate else {}
                    checkpoints.save(done, state, batches, numbers)
                    if numbers:
                        log.write(done, numbers)
                if sample and (done == steps or (sample_every and done % sample_every == 0)):
                    sample(state, done)
                if max_skipped is not None and skipped > max_skipped:
                    raise UserError(
                        f"Training in {workdir} stopped at update {done}: {skipped:.0f} samples or updates with "
                        f"numbers that are not finite were left out, more than max_skipped={max_skipped}; look at the "
                        "data and the learning rate."
                    )
                if asked:
                    break
    if int(state.step) < steps:
        raise Stopped(f"{workdir.name} stopped at update {int(state.step)} of {steps}; the same command goes on there.")
    return state


class Clock:
    """Updates and video frames a second since the last look."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        self.updates, self.frames, self.since = 0, 0, time.perf_counter()

    def count(self, draws: list) -> None:
        self.updates += 1
        for batch in draws:
            if isinstance(batch, Batch):
                self.frames += batch.target.shape[0] * (4 * batch.target.shape[1] - LEAD)

    def rates(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.since
        found = {"steps_per_second": self.updates / seconds}
        if self.frames:
            found["frames_per_second"] = self.frames / seconds
        self.restart()
        return found
