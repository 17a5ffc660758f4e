"""Hashes of source files, taken on another thread while the files are converted."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from lipforcing_jax.weights.converted import Origin

BLOCK = 4 * 2**20


class Digests:
    """`origin(file)` waits for a file's hash. Leaving the context stops what is still under way."""

    def __init__(self, files: Iterable[Path]):
        self.stop = Event()
        self.pool = ThreadPoolExecutor(1)
        self.futures = {file: self.pool.submit(self._digest, file) for file in sorted(files)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.pool.shutdown(cancel_futures=True)

    def origin(self, file: Path) -> Origin:
        """The record of a file."""
        return Origin(file.name, file.stat().st_size, self.futures[file].result())

    def _digest(self, file: Path) -> str:
        digest = hashlib.sha256()
        with file.open("rb") as content:
            while (block := content.read(BLOCK)) and not self.stop.is_set():
                digest.update(block)
        return digest.hexdigest()
