"""Files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which takes the place of `path` when the block ends well.

    After an exception nothing is left of it, and a file that was at `path` stays as it was.
    """
    growing = path.with_name(f".{path.name}.partial")
    try:
        yield growing
        growing.replace(path)
    finally:
        growing.unlink(missing_ok=True)
