"""The end of a run of several processes, where one of them is lost: the others say so, and end too."""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import jax

from lipforcing_jax.errors import UserError

STANDARD_ERROR = 2
on_signal = ctypes.CFUNCTYPE(None, ctypes.c_int)
"""A handler as the C library takes it."""


@contextmanager
def companions() -> Iterator[None]:
    """Ends this process with one sentence where another one of the run is gone, and says what to do where a device has
    no room.

    In the first case at once, and not by an exception: on the way out checkpoints and the runtime would wait at
    barriers for the lost process until its heartbeat is missed.

    Raises:
      UserError: a device has no room.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        failure = runtime_failure(error)
        if failure is None:
            raise
        reason = str(failure).splitlines()[0]
        if "RESOURCE_EXHAUSTED" in reason:
            raise UserError(
                f"A device has no room for this run ({reason}); ask lipforcing plan --suggest for a mesh that fits, "
                "recompute more by remat=full, or take a larger slice."
            ) from error
        if jax.process_count() == 1:
            raise
        end_with_sentence(this_process(), reason)


def runtime_failure(error: BaseException | None) -> jax.errors.JaxRuntimeError | None:
    """What the runtime said, anywhere in a chain of errors: a checkpoint tells of a lost barrier as a time that ran
    out."""
    while error is not None and not isinstance(error, jax.errors.JaxRuntimeError):
        error = error.__cause__ or error.__context__
    return error


def explain_aborts() -> None:
    """Lets an abort of the runtime end this process as `companions` would; for a process that has joined others.

    The runtime aborts when the heartbeat of another process is missed: most often while all threads here wait for that
    process, so no exception comes first. JAX has a callback for this, but can't call one written in Python (a C++
    exception, jaxlib 0.10), and Python's own handlers wait for the main thread. So the C library calls this one.
    """
    ctypes.CDLL(None).signal(signal.SIGABRT, when_aborted(this_process()))


@cache
def when_aborted(who: str) -> on_signal:
    """A handler of the signal, kept for as long as it may be called."""
    return on_signal(lambda _: end_with_sentence(who, "the runtime gave up, for what is said above"))


def this_process() -> str:
    return f"Process {jax.process_index()} of {jax.process_count()}"


def end_with_sentence(who: str, reason: str) -> None:
    """Tells why this process can't go on without the others, and ends it without waiting for anything."""
    sentence = (  # below the bar of progress, which has no end of line yet
        f"\nerror: {who} failed in what it does together with the others, most likely because one of them is gone "
        f"({reason}); start all of them again, they go on from the newest checkpoint.\n"
    )
    os.write(STANDARD_ERROR, sentence.encode())
    os._exit(1)
