"""A file appears whole or not at all."""

import pytest

from lipforcing_jax.whole_file import written_whole


def test_what_was_there_stays_until_the_end_and_after_a_failure(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as growing:
        growing.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with written_whole(path) as growing:
        growing.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
