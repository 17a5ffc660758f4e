"""One checkpoint out of its files: wrappers' prefixes, shards, half downloads, and the check of its keys."""

import json
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import safetensors_file, torch_writer
from lipforcing_jax.weights.source import check, open_source

VALUES = {f"blocks.{i}.weight": np.full((2, 3), i, np.float32) for i in range(6)}


def write(path, values):
    writer = safetensors_file if path.suffix == ".safetensors" else torch_writer
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, {n: (v.shape, v.dtype) for n, v in values.items()}, values.__getitem__)
    return path


def shards(folder, suffix=".safetensors", stem="diffusion_pytorch_model", index=True):
    """`VALUES` in three shards; returns their paths."""
    names, paths, where = list(VALUES), [], {}
    for i in range(3):
        path = folder / f"{stem}-{i + 1:05d}-of-00003{suffix}"
        part = {name: VALUES[name] for name in names[2 * i : 2 * i + 2]}
        paths.append(write(path, part))
        where |= dict.fromkeys(part, path.name)
    if index:
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return paths


def equal(source, expected=VALUES):
    assert source.tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(source.read(name), value)


@pytest.mark.parametrize("prefix", ["", "_core.", "model.", "module.", "transformer.", "_core.module.model."])
@pytest.mark.parametrize("name", ["one.pth", "one.safetensors", "one.pt", "one.bin"])
def test_wrappers_prefixes_are_taken_off(tmp_path, name, prefix):
    path = write(tmp_path / name, {prefix + n: v for n, v in VALUES.items()})
    source = open_source(path)
    equal(source)
    assert source.files == [path]


def test_one_name_under_two_prefixes_is_refused(tmp_path):
    path = write(tmp_path / "two.pth", {"a": np.zeros(2), "model.a": np.ones(2)})
    with pytest.raises(UserError, match="holds a twice"):
        open_source(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("index", [True, False])
def test_shards_are_joined_with_and_without_an_index(tmp_path, suffix, index):
    paths = shards(tmp_path / "model", suffix, index=index)
    for given in (tmp_path / "model", paths[0], paths[2]):
        source = open_source(given)
        equal(source)
        assert sorted(source.files) == paths
    if index:
        equal(open_source(next((tmp_path / "model").glob("*.index.json"))))


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("missing", range(3))
def test_a_missing_shard_is_named(tmp_path, index, missing):
    paths = shards(tmp_path / "model", index=index)
    paths[missing].unlink()
    given = [tmp_path / "model", *(p for p in paths if p.exists())]
    for path in given:
        with pytest.raises(UserError, match=f"1 of 3 files are missing, first {paths[missing].name}"):
            open_source(path)


def test_a_truncated_shard_is_named(tmp_path):
    paths = shards(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    with pytest.raises(UserError, match=paths[1].name):
        open_source(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    paths = shards(tmp_path)
    write(paths[1], {**VALUES})
    with pytest.raises(UserError, match="in two files"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b'{"weight_map": {"a": 5}}',
    b'{"weight_map": {"a": ["b"]}}', b"\xff\xfe\x00", b"null",
])  # fmt: skip
def test_a_damaged_index_is_refused(tmp_path, content):
    shards(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"index.*download it again"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "..", "a/b/c.safetensors"])
def test_an_index_reaches_only_files_beside_it(tmp_path, name):
    folder = tmp_path / "a" / "b"
    write(tmp_path / "secret.safetensors", VALUES)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="half downloaded"):
        open_source(folder)


@pytest.mark.parametrize("number", ["00004-of-00003", "00000-of-00003", "00001-of-00000"])
def test_an_impossible_shard_is_refused(tmp_path, number):
    with pytest.raises(UserError, match="says shard"):
        open_source(write(tmp_path / f"model-{number}.safetensors", VALUES))


@pytest.mark.parametrize("suffix", [".incomplete", ".part", ".crdownload", ".aria2", ".tmp"])
def test_half_downloads_are_told_by_their_names(tmp_path, suffix):
    half = tmp_path / f"student.pth{suffix}"
    half.write_bytes(b"PK\x03\x04")
    for path in (tmp_path / "student.pth", half, tmp_path):
        with pytest.raises(UserError, match=rf"half downloaded \(student\.pth\{suffix}\)"):
            open_source(path)


def test_nothing_there_is_said(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path / "no" / "folder" / "x.pth", tmp_path / "odd[1].pth"):
        with pytest.raises(UserError, match="no checkpoint at"):
            open_source(path)
    with pytest.raises(UserError, match="no file of weights"):
        open_source(tmp_path)


@pytest.mark.parametrize("names", [
    ("a.pth", "b.pth"), ("a.safetensors", "b-00001-of-00001.safetensors"),
    ("a-00001-of-00001.safetensors", "b-00001-of-00001.safetensors"),
    ("a.safetensors.index.json", "b.safetensors.index.json"),
])  # fmt: skip
def test_a_folder_with_several_checkpoints_asks_which(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="holds several checkpoints"):
        open_source(tmp_path)


def test_safetensors_come_before_the_same_weights_as_pickle(tmp_path):
    """As in published folders of wav2vec2."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    path = write(tmp_path / "model.safetensors", VALUES)
    assert open_source(tmp_path).files == [path]


def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
        with pytest.raises(UserError, match="pointer"):
            open_source(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe.pth")


def test_a_pickle_that_would_run_code_does_not(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(UserError, match="system"):
        open_source(tmp_path / "bad.pth")
    assert not (tmp_path / "executed").exists()


def test_the_check_lists_every_kind_of_fault(tmp_path):
    source = open_source(write(tmp_path / "a.pth", VALUES | {"lm_head.weight": np.zeros(3)}))
    right = {name: value.shape for name, value in VALUES.items()}
    check(source, right, "a network", ignored=("lm_head.",))
    wrong = {n: s for n, s in right.items() if "0" not in n} | {"blocks.1.weight": (3, 2), "new": (1,)}
    with pytest.raises(UserError) as refused:
        check(source, wrong, "a network")
    message = str(refused.value)
    assert "is not a network" in message and "\n" not in message
    assert "1 keys missing: new" in message
    assert "2 keys unexpected: blocks.0.weight, lm_head.weight" in message
    assert "1 keys of another shape: blocks.1.weight (2, 3) instead of (3, 2)" in message


def test_the_check_counts_what_it_does_not_list(tmp_path):
    source = open_source(write(tmp_path / "a.pth", VALUES))
    with pytest.raises(UserError, match="6 keys unexpected.* and 3 more"):
        check(source, {}, "a network")


def test_numbers_stay_mapped_and_as_they_are(tmp_path):
    value = np.arange(6).astype(ml_dtypes.bfloat16)
    found = open_source(write(tmp_path / "a.pth", {"a": value})).read("a")
    assert found.dtype == ml_dtypes.bfloat16 and not found.flags.owndata and not found.flags.writeable
