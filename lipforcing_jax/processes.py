"""Processes for work that is done beside other work, and how a process is asked to stop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager

ANEW = multiprocessing.get_context("spawn")
"""How processes begin: a fork would take over JAX without its threads."""
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def pool(workers: int) -> Executor:
    """Processes that end with this one, however it ends; with no workers, this process does the work as it is given.

    A process takes seconds to begin, longer than little work does.
    """
    return ProcessPoolExecutor(workers, ANEW, initializer=end_with_parent) if workers else _InPlace()


class _InPlace(Executor):
    """Does everything at once, in this process and thread."""

    def submit(self, fn: Callable, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def in_large_pages() -> Iterator[None]:
    """Processes begun in it ask the kernel for large pages, where their C library is glibc.

    JAX on a CPU asks for its memory anew at every call, and a training there spends up to a fifth of its time on being
    given it in small ones. The library reads this when a process begins, so this one can't have it any more. What
    somebody has set is left.
    """
    before = os.environ.get(TUNABLES)
    if LARGE_PAGES not in (before or ""):
        os.environ[TUNABLES] = ":".join(filter(None, [before, f"{LARGE_PAGES}=1"]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TUNABLES, None)
        else:
            os.environ[TUNABLES] = before


def end_with_parent() -> None:
    """Called in a process of `ANEW`: it ends when the one that began it does, even if that was killed.

    Else it would go on and write where its parent's successor does.
    """

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Yields a callable that tells whether SIGTERM or SIGINT has asked this process to end."""
    seen = []
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda number, frame: seen.append(number)) for name in names]
    try:
        yield lambda: bool(seen)
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
