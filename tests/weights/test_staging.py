"""All or nothing: what `staging` and `publish` leave when something fails."""

import errno

import pytest

from lipforcing_jax.weights.staging import is_full, publish, staging


def test_what_is_published_replaces_and_the_rest_goes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    with staging(tmp_path) as staged:
        (staged / "a").mkdir()
        (staged / "a" / "new").write_text("new")
        (staged / "b").write_text("b")
        (staged / "left").write_text("left")
        publish(staged, tmp_path, ["a", "b"])
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "a/new", "b"]


def test_a_move_that_fails_takes_the_earlier_ones_back(tmp_path):
    for name in ("a", "c"):
        (tmp_path / name).write_text(f"old {name}")
    with pytest.raises(FileNotFoundError), staging(tmp_path) as staged:
        (staged / "a").write_text("new a")
        (staged / "b").write_text("new b")
        publish(staged, tmp_path, ["a", "b", "c"])
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old a", "c": "old c"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_folders_that_were_made_are_gone_after_a_fault(tmp_path, error):
    with pytest.raises(error), staging(tmp_path / "x" / "y") as staged:
        (staged / "a").write_text("a")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_from_other_faults():
    wrapped = RuntimeError("writing failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(wrapped) and is_full(OSError(errno.EDQUOT, "quota"))
    assert is_full(ValueError("RESOURCE_EXHAUSTED: [OS error 28: ENOSPC No space left on device]"))
    assert not is_full(OSError(errno.EACCES, "Permission denied")) and not is_full(ValueError("wrong"))
