"""What processes that do a part of the work are begun with."""

import os

import pytest

from lipforcing_jax.processes import in_large_pages, pool


@pytest.mark.parametrize(("before", "inside"), [
    (None, "glibc.malloc.hugetlb=1"),
    ("glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
    ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
])  # fmt: skip
def test_large_pages_are_asked_for_beside_what_somebody_has_set(monkeypatch, before, inside):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if before is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", before)
    with pytest.raises(KeyError, match="a failure"), in_large_pages():
        assert os.environ["GLIBC_TUNABLES"] == inside
        raise KeyError("a failure")
    assert os.environ.get("GLIBC_TUNABLES") == before


@pytest.mark.parametrize("workers", [0, 1])
def test_work_is_done_in_a_process_of_its_own_only_where_there_are_workers(workers):
    with pool(workers) as team:
        assert (team.submit(os.getpid).result() == os.getpid()) == (not workers)
        with pytest.raises(ZeroDivisionError):
            team.submit(divmod, 1, 0).result()
