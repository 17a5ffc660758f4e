"""Tasks that wait for one another, several at once, each in a process of its own.

On a CPU two processes beside each other use its cores better than the threads of one program.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from lipforcing_jax.errors import Stopped
from lipforcing_jax.training.loop import stop_request

Say = Callable[[str], None]
TOLD_EVERY_S = 30.0
"""Between two reports of how far the running tasks are."""


class Task(NamedTuple):
    """Some work that has a name, and the names of what must be finished before it."""

    name: str
    work: Callable[[], object]
    """Can be pickled, where there are several workers."""
    after: tuple[str, ...] = ()


def run_all(
    tasks: Iterable[Task],
    finished: Callable[[str, float], None],
    say: Say = print,
    *,
    workers: int = 1,
    logs: Path | None = None,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Does all tasks, each as soon as it can be, earlier ones of the list first.

    Names in `after` that are no task of the list count as finished.

    Args:
      finished: is called with a task's name and how many seconds it took.
      workers: how many at once; one does everything in this process.
      logs: folder for what several workers print.
      prepare: is called in each worker before its first task.

    Raises:
      Stopped: somebody asked the run to end, and every training has saved.
      Whatever a task raises; those beside it have been asked to end then, and have saved.
    """
    known = {task.name: task for task in tasks}
    order = TopologicalSorter({name: [n for n in task.after if n in known] for name, task in known.items()})
    order.prepare()
    if workers == 1:
        _one_by_one(known, order, finished, say)
    else:
        logs.mkdir(parents=True, exist_ok=True)
        with _pool(workers, prepare) as pool, stop_request() as asked:
            _Team(pool, workers, logs, known, say).work(order, finished, asked)


def _one_by_one(known: dict[str, Task], order: TopologicalSorter, finished, say: Say) -> None:
    waiting: list[str] = []
    while order.is_active():
        waiting = sorted([*waiting, *order.get_ready()], key=[*known].index)
        name = waiting.pop(0)
        say(f"{name}: begun")
        finished(name, _timed(known[name].work))
        order.done(name)


class _Team:
    """The workers, and what they are doing."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int, logs: Path, known: dict[str, Task], say: Say):
        self.pool, self.workers, self.logs, self.known, self.say = pool, workers, logs, known, say
        self.running: dict[Future, str] = {}
        self.told: dict[str, str] = {}

    def work(self, order: TopologicalSorter, finished, asked: Callable[[], bool]) -> None:
        waiting: list[str] = []
        tell_at = time.monotonic() + TOLD_EVERY_S
        while order.is_active():
            waiting = sorted([*waiting, *order.get_ready()], key=[*self.known].index)
            while waiting and len(self.running) < self.workers:
                self.begin(waiting.pop(0))
            ended, _ = wait(self.running, timeout=0.5, return_when=FIRST_COMPLETED)
            if asked():
                raise Stopped(f"stopped in {' and '.join(self.running.values())}; the same command goes on there.")
            for future in ended:
                name = self.running.pop(future)
                finished(name, future.result())
                order.done(name)
            if time.monotonic() > tell_at:
                self.tell()
                tell_at = time.monotonic() + TOLD_EVERY_S

    def begin(self, name: str) -> None:
        log = self.logs / f"{name}.log"
        self.say(f"{name}: begun, its output goes to {log}")
        self.running[self.pool.submit(_logged, self.known[name].work, log)] = name

    def tell(self) -> None:
        """The last line that every running task has printed, where it is a new one."""
        for name in self.running.values():
            line = _last_line(self.logs / f"{name}.log")
            if line and self.told.get(name) != line:
                self.told[name] = line
                self.say(line if line.startswith(name) else f"{name}: {line}")


@contextmanager
def _pool(workers: int, prepare: Callable[[], None] | None) -> Iterator[ProcessPoolExecutor]:
    """Processes that begin anew, as JAX demands; in the end those that are at work are asked to stop, and awaited."""
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(prepare,)
    )
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(prepare: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on: the parent's successor would train in the same folder."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _logged(work: Callable[[], object], log: Path) -> float:
    """Does `work`, its output going to the end of `log`; returns the seconds it took."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return _timed(work)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _last_line(log: Path, most: int = 4000) -> str:
    """The last line of a log, or the last state of its progress bar."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
