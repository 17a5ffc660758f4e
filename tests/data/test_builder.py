import fcntl

import numpy as np
import pytest
from clip_samples import FACTS, PROMPTS, clip, clips

from lipforcing_jax.data import builder, reader
from lipforcing_jax.data.reader import Reading, read
from lipforcing_jax.data.sample import read_facts
from lipforcing_jax.errors import UserError


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_facts_stay_with_the_data(tmp_path):
    out = tmp_path / "deep" / "set"
    counts = builder.build(out, FACTS, PROMPTS, {"train": iter(clips(range(5))), "val": clips([9])})
    assert counts == {"train": 5, "val": 1}
    assert read_facts(out) == FACTS
    assert [p.name for p in out.parent.iterdir()] == ["set"]


def test_many_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SHARD_BYTES", 2 * FACTS.bytes)
    builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": clips(range(7))})
    assert len(list((tmp_path / "set").glob("*train*"))) == 4
    found = next(read(tmp_path / "set", "train", Reading(7, shuffle=False))).ref_latent[:, 0, 0, 0, 0]
    assert found.tolist() == list(range(7))


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield clip(0)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": broken()})
    with pytest.raises(UserError, match="split val .* would be empty"):
        builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": clips([1]), "val": []})
    with pytest.raises(UserError, match="Two clips of the split train are called clip 1"):
        builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": clips([1, 1])})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    def full():
        yield clip(0)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="disk of .* is full"):
        builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": full()})
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_unless_asked(tmp_path):
    out = tmp_path / "set"
    builder.build(out, FACTS, PROMPTS, {"train": clips(range(3))})
    before = contents(out)
    with pytest.raises(UserError, match="there already"):
        builder.build(out, FACTS, PROMPTS, {"train": clips(range(4))})
    with pytest.raises(ZeroDivisionError):
        builder.build(out, FACTS, PROMPTS, {"train": (clip(1 // n) for n in (1, 0))}, overwrite=True)
    assert contents(out) == before
    builder.build(out, FACTS, PROMPTS, {"train": clips(range(4))}, overwrite=True)
    assert reader.count(out, "train") == 4
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_is_no_data_set_is_never_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="no data set, so it is not overwritten"):
        builder.build(tmp_path / "photos", FACTS, PROMPTS, {"train": clips([0])}, overwrite=True)


def test_a_killed_build_does_not_stand_in_the_way_but_a_running_one_does(tmp_path):
    (tmp_path / ".set.partial" / "lipforcing").mkdir(parents=True)
    builder.build(tmp_path / "set", FACTS, PROMPTS, {"train": clips([0])})
    with (tmp_path / ".other.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another run is making"):
            builder.build(tmp_path / "other", FACTS, PROMPTS, {"train": clips([0])})


def encode(numbers):
    for number in numbers:
        yield clip(number)


def test_beam_writes_the_same_clips(tmp_path):
    pytest.importorskip("apache_beam")
    sources = {"train": [range(3), range(3, 8)], "val": [range(9, 10)]}
    counts = builder.build_by_beam(tmp_path / "set", FACTS, PROMPTS, sources, encode)
    assert counts == {"train": 8, "val": 1}
    assert read_facts(tmp_path / "set") == FACTS
    batch = next(read(tmp_path / "set", "train", Reading(8, shuffle=False)))
    order = np.argsort(batch.ref_latent[:, 0, 0, 0, 0])
    (_, stored), *_ = clips([5])
    np.testing.assert_array_equal(batch.target[order[5]], stored["target"])
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
