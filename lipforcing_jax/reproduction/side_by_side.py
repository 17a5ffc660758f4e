"""Tasks that wait for one another, several at once, each in a process of its own.

On a CPU two processes beside each other use its cores better than the threads of one program.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from graphlib import TopologicalSorter
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from lipforcing_jax import processes
from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.processes import stop_request

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
      UserError: a worker was killed.
      Whatever a task raises; those beside it have been asked to end then, and have saved.
    """
    known = {task.name: task for task in tasks}
    order = TopologicalSorter({name: [n for n in task.after if n in known] for name, task in known.items()})
    order.prepare()
    if workers == 1:
        _one_by_one(known, order, finished, say)
    else:
        logs.mkdir(parents=True, exist_ok=True)
        with stop_request() as asked, _Team(workers, prepare, logs, known, say) as team:
            team.work(order, finished, asked)


def _one_by_one(known: dict[str, Task], order: TopologicalSorter, finished, say: Say) -> None:
    waiting: list[str] = []
    while order.is_active():
        waiting = sorted([*waiting, *order.get_ready()], key=[*known].index)
        name = waiting.pop(0)
        say(f"{name}: begun")
        finished(name, _timed(known[name].work))
        order.done(name)


class _Worker:
    """A process that does one task after the other, each sent through a pipe of its own."""

    def __init__(self, prepare: Callable[[], None] | None):
        self.pipe, theirs = processes.ANEW.Pipe()
        self.process = processes.ANEW.Process(target=_serve, args=(theirs, prepare))
        with processes.in_large_pages():
            self.process.start()
        theirs.close()
        self.task: Task | None = None

    def begin(self, task: Task, log: Path) -> None:
        self.task = task
        self.pipe.send((task.work, log))

    def answer(self, log: Path) -> float:
        """The seconds that the task took; raises what it raised."""
        try:
            found = self.pipe.recv()
        except EOFError:
            raise UserError(
                f"The process of {self.task.name} was killed, perhaps for want of memory; its output is in {log}, and "
                "the same command goes on there."
            ) from None
        self.task = None
        if isinstance(found, BaseException):
            raise found
        return found


class _Team:
    """The workers, all begun at once, since what they import takes seconds; when the block ends those at work are asked
    to stop, and awaited."""

    def __init__(self, workers: int, prepare, logs: Path, known: dict[str, Task], say: Say):
        self.most, self.prepare, self.logs, self.known, self.say = min(workers, len(known)), prepare, logs, known, say
        self.workers: list[_Worker] = []
        self.told: dict[str, str] = {}

    def __enter__(self) -> "_Team":
        self.workers += [_Worker(self.prepare) for _ in range(self.most)]
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers:
            if worker.task is not None:
                worker.process.terminate()
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join()

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.task is not None]

    def work(self, order: TopologicalSorter, finished, asked: Callable[[], bool]) -> None:
        waiting: list[str] = []
        tell_at = time.monotonic() + TOLD_EVERY_S
        while order.is_active():
            waiting = sorted([*waiting, *order.get_ready()], key=[*self.known].index)
            while waiting and len(self.busy) < self.most:
                self.begin(self.known[waiting.pop(0)])
            ended = wait([worker.pipe for worker in self.busy], timeout=0.5)
            if asked():
                names = " and ".join(worker.task.name for worker in self.busy)
                raise Stopped(f"stopped in {names}; the same command goes on there.")
            for worker in [worker for worker in self.busy if worker.pipe in ended]:
                name = worker.task.name
                finished(name, worker.answer(self.log(name)))
                order.done(name)
            if time.monotonic() > tell_at:
                self.tell()
                tell_at = time.monotonic() + TOLD_EVERY_S

    def begin(self, task: Task) -> None:
        idle = next(worker for worker in self.workers if worker.task is None)
        self.say(f"{task.name}: begun, its output goes to {self.log(task.name)}")
        idle.begin(task, self.log(task.name))

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def tell(self) -> None:
        """The last line that every running task has printed, where it is a new one."""
        for name in (worker.task.name for worker in self.busy):
            line = last_line(self.log(name))
            if line and self.told.get(name) != line:
                self.told[name] = line
                self.say(line if line.startswith(name) else f"{name}: {line}")


def _serve(pipe: Connection, prepare: Callable[[], None] | None) -> None:
    """A worker: does what comes through the pipe, and answers with the seconds that it took, or what it raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that sends the tasks.
    processes.end_with_parent()
    if prepare is not None:
        prepare()
    with suppress(EOFError, BrokenPipeError):  # Nobody sends, or awaits an answer, any more.
        while True:
            work, log = pipe.recv()
            pipe.send(_logged(work, log))


def _logged(work: Callable[[], object], log: Path) -> float | BaseException:
    """Does `work`, its output going to the end of `log`; returns the seconds it took, or what it raised."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        return _timed(work)
    except (Stopped, UserError) as error:  # Their one sentence is told by whoever began the run.
        return error
    except BaseException as error:
        traceback.print_exc()
        return error


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def last_line(log: Path, most: int = 4000) -> str:
    """The last line of a log, or the last state of its progress bar."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
