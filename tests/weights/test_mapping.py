"""Pages of mapped files."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lipforcing_jax.weights.mapping import release


def resident_file_pages() -> int:
    """Bytes of mapped files that this process holds in memory."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("RssFile"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of the process")
def test_released_pages_leave_memory_and_come_back(tmp_path):
    size = 32 * 2**20
    np.full(size, 7, np.uint8).tofile(tmp_path / "numbers")
    view = np.memmap(tmp_path / "numbers", np.uint8, "r")[64:].view(np.uint32).reshape(-1, 16).T
    assert (view == 0x07070707).all()
    before = resident_file_pages()
    release(view)
    assert before - resident_file_pages() > 0.9 * size
    assert (view == 0x07070707).all()


def test_an_array_of_its_own_is_left_alone():
    value = np.arange(5)
    release(value[1:])
    np.testing.assert_array_equal(value, np.arange(5))
