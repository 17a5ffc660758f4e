"""Memory of mapped files."""

import mmap

import numpy as np


def release(value: np.ndarray) -> None:
    """Gives back the memory that the file of a mapped tensor takes; a view that is used again is read again.

    Pages that were read stay with the process until the system needs them, so that a large file read once, tensor by
    tensor, would end up in memory as a whole.
    """
    while value is not None and not isinstance(value, mmap.mmap):
        value = getattr(value, "base", None)
    if value is not None and hasattr(mmap, "MADV_DONTNEED"):
        value.madvise(mmap.MADV_DONTNEED)
