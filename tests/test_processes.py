"""What processes that do a part of the work are begun with."""

import os

import pytest

from lipforcing_jax.processes import in_large_pages


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
