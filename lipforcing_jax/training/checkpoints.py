"""Checkpoints of a run: its state and its place in the data, written beside the training and found again.

A run can be killed at any moment: a checkpoint appears under its name only when it is complete, and the one before it
is removed only after that.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grain.checkpoint
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from lipforcing_jax.errors import UserError
from lipforcing_jax.training.companions import companions, runtime_failure
from lipforcing_jax.whole_file import written_whole

FREE_FIELDS = frozenset(
    ("steps", "save_every", "log_every", "sample_every", "keep", "workers", "loaders", "max_skipped", "mesh")
    + ("dataset", "start", "teacher", "weights")
)
"""Fields of a run's record that may differ when it goes on: they don't change what an update computes, or, where they
name files, the checkpoint has their content."""


class Checkpoints:
    """The newest `keep` checkpoints of `folder`, and the best one by a metric of the evaluation, if `best` names one.

    Args:
      best: the metric's name, with a minus sign before it where less is better.
    """

    def __init__(self, folder: Path, keep: int = 2, best: str | None = None):
        self.folder = folder.resolve()
        policies = [LatestN(n=keep)]
        if best:
            policies.append(BestN(get_metric_fn=score_of(best), n=1, keep_checkpoints_without_metrics=False))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policies), cleanup_tmp_directories=True
        )
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with companions(), told_plainly(self.folder):
            self.manager.close()

    def save(self, step: int, state: Any, batches, metrics: dict[str, float] | None = None) -> None:
        """Starts to write; returns when the values are copied, before they are on disk."""
        with told_plainly(self.folder):
            items = ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(batches)
            )
            self.manager.save(step, args=items, metrics=metrics or None)

    def restore(self, state: Any, batches) -> Any:
        """The newest state, shaped and placed like `state`, and `batches` moved to its place; `state` if there is none.

        Raises:
          UserError: the stored state has other arrays than `state`.
        """
        step = self.manager.latest_step()
        if step is None:
            return state
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        try:
            state = self.manager.restore(step, args=items)["state"]
            self.find_place(step, batches)
            return state
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"The checkpoint {step} in {self.folder} does not fit this run ({first_line(error)}); use another "
                "work folder or the settings with which it was made."
            ) from error

    def find_place(self, step: int, batches) -> None:
        """Moves `batches` to where they were. By now there may be more or fewer processes: a batch of all together is
        the same samples then, and the first process's place is everybody's."""
        folder = self.folder / str(step) / "data"
        mine = folder / f"process_{jax.process_index()}-of-{jax.process_count()}.json"
        places = [mine] if mine.exists() else sorted(folder.glob("process_0-of-*.json"))
        if not places:
            raise ValueError("it does not hold the place in the data")
        batches.set_state(json.loads(places[0].read_text()))


@contextmanager
def told_plainly(folder: Path) -> Iterator[None]:
    """Turns a failed write into one sentence."""
    try:
        yield
    except Exception as error:
        if reason := write_failure(error):
            raise UserError(
                f"A checkpoint could not be written to {folder}: {reason}; the one before it is intact. Make room and "
                "start the same command again."
            ) from error
        raise


def write_failure(error: BaseException | None) -> str | None:
    """What a full or broken disk said, anywhere in a chain of errors; None for errors of another kind."""
    if isinstance(error, TimeoutError) and runtime_failure(error):
        return None  # Of a barrier: another process is lost.
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or first_line(error)
        # The array library tells of the system's errors in its own words, and these in brackets.
        if told := re.search(r"([^:]+) \[os_error_code=", str(error)):
            return told[1].strip()
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def score_of(best: str) -> Callable[[dict], float]:
    """How good a checkpoint's metrics are: higher is better."""
    name, sign = best.removeprefix("-"), -1.0 if best.startswith("-") else 1.0
    return lambda metrics: sign * metrics[name]


def check_record(folder: Path, record: dict) -> None:
    """Keeps what a run was started with as `folder/record.json`, and refuses to go on with something else.

    Raises:
      UserError: a run in `folder` has other settings; the differing ones are named.
    """
    path = folder / "record.json"
    given = json.loads(json.dumps(record, default=str))
    if path.exists():
        stored = json.loads(path.read_text())
        names = sorted((given.keys() | stored.keys()) - FREE_FIELDS)
        differing = [f"{n} was {stored.get(n)!r}, is {given.get(n)!r}" for n in names if stored.get(n) != given.get(n)]
        if differing:
            raise UserError(
                f"The run in {folder} was started with other settings ({'; '.join(differing)}); use them again or "
                "another work folder."
            )
    if jax.process_index() > 0:
        return
    with written_whole(path) as growing:
        growing.write_text(json.dumps(given, indent=1) + "\n")
