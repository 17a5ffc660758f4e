"""A folder of results that appears whole, in the place of an old one only if asked, or not at all."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights.staging import is_full

DONE = "done"


@contextmanager
def new_folder(out: Path, overwrite: bool = False, mark: str = "") -> Iterator[Path]:
    """A hidden folder beside `out` to work in; what is its `DONE` in the end takes the place of `out`.

    What a killed run has left there is cleared away.

    Args:
      overwrite: replace an `out` that is there, which must hold a file called `mark`.

    Raises:
      UserError: `out` is there and not to be replaced, another run is making it, or the disk becomes full. Nothing new
        is left behind then.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another place, or ask for it to be overwritten.")
    if out.exists() and not (out / mark).is_file():
        raise UserError(f"{out} is no data set, so it is not overwritten; choose another place.")
    folder = out.parent / f".{out.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (out.parent / f".{out.name}.lock").open("w")
    except OSError as error:
        raise UserError(f"A folder can't be made in {out.parent}: {error.strerror}; choose another place.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"Another run is making {out}; wait for it or choose another place.") from error
        try:
            shutil.rmtree(folder)
            folder.mkdir()
            yield folder
            if out.exists():
                out.rename(folder / "old")
            (folder / DONE).rename(out)
        except BaseException as error:
            if is_full(error):
                raise UserError(f"The disk of {out} is full; free some space or choose another place.") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)
