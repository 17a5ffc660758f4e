"""What the tests of tasks beside one another let their workers do.

Workers import them by name, which the modules in folders of tests do not have outside pytest.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from lipforcing_jax import processes
from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.processes import stop_request
from lipforcing_jax.reproduction.side_by_side import Task, run_all


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def open_pipe(path: Path, mode: str) -> None:
    """Waits until somebody opens the other end."""
    path.open(mode).close()


def speak(text: str) -> None:
    print(f"said {text}", flush=True)
    os.write(2, b"a library's word\n")


def show_environment(name: str) -> None:
    print(os.environ.get(name), flush=True)


def refuse(pipe: Path) -> None:
    """Once the task beside it has begun."""
    open_pipe(pipe, "r")
    raise UserError("there is no such talker.")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_and_save(path: Path, begun: Callable[[], None]) -> None:
    """A training: goes on until it is asked to stop. `begun` is called when it has begun."""
    with stop_request() as asked:
        begun()
        moment = threading.Event()
        while not asked():
            moment.wait(0.01)
    path.write_text("saved")
    raise Stopped("stopped at update 3")


def signal_parent(name: str) -> None:
    os.kill(os.getppid(), signal.Signals[name])


def hold_open(path: Path) -> None:
    """Writes to a pipe and never closes it."""
    file = path.open("w")
    file.write("begun\n")
    file.flush()
    threading.Event().wait()


def hold_open_beside(path: Path) -> None:
    """The same in a process of its own."""
    with processes.pool(1) as pool:
        pool.submit(hold_open, path).result()


def run_two(tasks: list[Task], folder: Path, told: list[str] | None = None) -> list[str]:
    """The names of finished tasks in their order, of two workers."""
    ended: list[str] = []
    told = [] if told is None else told
    run_all(tasks, lambda name, seconds: ended.append(name), told.append, workers=2, logs=folder / "logs")
    return ended
