"""A video that runs forth and back for as long as the sound needs, in constant memory."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

SEGMENT = 25
"""Frames that are held at once while the video runs backwards."""

Frames = Iterator[UInt8[np.ndarray, "h w 3"]]


def ping_pong(read: Callable[[int, int | None], Frames], limit: int) -> Frames:
    """`limit` frames in the order 0 ... n-1, n-2 ... 1, 0 ... (spec inference 1.4), without end frames doubled.

    Args:
      read: `read(first, count)` gives up to `count` frames (None for all) from frame `first` on, and may be called
        again; backwards the video is read in short segments.
    """
    given = length = 0
    for frame in read(0, None):
        if given == limit:
            return
        yield frame
        given += 1
        length += 1
    while given < limit and length:
        for frame in _turn(read, length):
            if given == limit:
                return
            yield frame
            given += 1


def _turn(read, length: int) -> Frames:
    """One way back and forth again: n-2 ... 1, then 0 ... n-1; a single frame just stands."""
    stop = max(length - 1, 0)
    while stop > 1:
        first = max(1, stop - SEGMENT)
        yield from reversed(list(read(first, stop - first)))
        stop = first
    yield from read(0, length)
