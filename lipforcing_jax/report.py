"""What a run tells about itself: seconds per stage, speed, and the record that `--report` writes."""

import json
import platform
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from lipforcing_jax.errors import UserError
from lipforcing_jax.whole_file import written_whole

T = TypeVar("T")
PACKAGES = ("lipforcing-jax", "jax", "jaxlib", "flax", "numpy", "av", "opencv-python-headless", "faceie")


class Timings:
    """Seconds spent in each stage; stages run on different threads, so their sum exceeds the run's."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.first: float | None = None

    @contextmanager
    def stage(self, name: str):
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def first_frame(self, available: float) -> None:
        """Notes, once, the seconds from the first chunk's arrival to its finished frames."""
        if self.first is None:
            self.first = time.perf_counter() - available


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """Runs `items` on a thread of its own, at most `depth` ahead; its exceptions are raised here.

    When the consumer stops early the thread ends at its next item.
    """
    line: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry) -> None:
        while not stopped.is_set():
            try:
                line.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001 - handed over to the consumer
            put((None, error))
        finally:
            # Here, on the thread that ran it: what `items` holds open, files and further threads, ends with it.
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error = line.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()


def versions() -> dict[str, str]:
    """Of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def check_report(path: Path) -> None:
    """Checks that a record can be written at `path`, before any work is done for it.

    Raises:
      UserError: the path is a folder, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise UserError(f'The report "{path}" is a folder; name a file in it, such as "{path / "report.json"}".')
    if not path.parent.is_dir():
        raise UserError(f'The folder "{path.parent}" of the report does not exist; create it first.')
    try:
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f'The report "{path}" can\'t be written ({error.strerror}); choose another place.') from error


def write_report(path: Path, record: dict) -> None:
    """Writes the record as JSON; the file appears whole or not at all."""
    with written_whole(path) as growing:
        growing.write_text(json.dumps(record, indent=1) + "\n")
