"""Files that appear in a folder all at once, or not at all."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lipforcing_jax.errors import UserError

NAME = ".partial"
NO_SPACE = ("No space left on device", "ENOSPC", "Disk quota exceeded", "EDQUOT")


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yields a folder inside `out` to write into; whatever is still there at the end is deleted.

    `out` is made where it is missing, and is gone again when the block raises.

    Raises:
      UserError: `out` can't be a folder or holds the traces of another run, or the disk becomes full.
    """
    missing = [p for p in (out, *out.parents) if not p.exists()]
    folder = out / NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError as error:
        if not out.is_dir():
            raise UserError(f"{out} is a file; give a folder to write into.") from error
        raise UserError(
            f"The folder {folder} was left by a run that was killed, or one is under way; delete it and try again."
        ) from error
    except OSError as error:
        raise UserError(f"The folder {out} can't be made: {error.strerror}; choose another one.") from error
    try:
        yield folder
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for made in missing:
                made.rmdir()
        if is_full(error):
            raise UserError(f"The disk of {out} is full; free some space or choose another folder.") from error
        raise
    shutil.rmtree(folder, ignore_errors=True)


def is_full(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that the disk has no room; tensorstore says so in words only."""
    seen = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(seen) for words in NO_SPACE):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def check_space(out: Path, needed: int) -> None:
    """Makes sure that the disk has room for so many bytes.

    Raises:
      UserError: it has not.
    """
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"The disk of {out} has {free // 10**6} MB free and {needed // 10**6 + 1} MB are needed; free some space "
            "or choose another folder."
        )


def publish(staged: Path, out: Path, names: list[str]) -> None:
    """Moves what is called `names` from the staging folder to `out`, where it replaces what has the same name.

    When a move fails, everything is as it was before.
    """
    old = staged / "old"
    old.mkdir()
    done: list[tuple[Path, Path]] = []
    try:
        for name in names:
            if (out / name).exists():
                done.append(((out / name).rename(old / name), out / name))
            done.append(((staged / name).rename(out / name), staged / name))
    except BaseException:
        for now, before in reversed(done):
            now.rename(before)
        raise
