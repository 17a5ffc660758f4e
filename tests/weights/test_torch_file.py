"""PyTorch checkpoints: what `torch.save` writes is read to the bit, anything else is refused and nothing runs."""

import collections
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import torch_file, torch_writer

STEP = 61
"""Bytes between two places where files are cut: a prime, so that the cuts fall into every kind of field."""


def small() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "b.weight": rng.standard_normal((2, 5)).astype(ml_dtypes.bfloat16),
        "c.bias": rng.standard_normal(6).astype(np.float16),
        "d.count": np.asarray(7),
    }


def write(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    torch_writer.write(path, {n: (t.shape, t.dtype) for n, t in tensors.items()}, tensors.__getitem__)
    return path


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(np.asarray(found[name], value.dtype), value, err_msg=name)


def as_numpy(tensor) -> np.ndarray:
    import torch

    if tensor.dtype == torch.bfloat16:
        return tensor.detach().contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    """Writes an object by `torch.save` in either format; returns the path."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "checkpoint.pth"

    def write(content):
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


@pytest.fixture
def tensors():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    whole = torch.randn(6, 8)
    return {
        "float32": torch.randn(3, 4),
        "bfloat16": torch.randn(5, 2).to(torch.bfloat16),
        "float16": torch.randn(7).half(),
        "float64": torch.randn(2, 2).double(),
        "int64": torch.arange(4),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "transposed": torch.randn(4, 3).T,
        "strided": torch.randn(10)[1::3],
        "shared, whole": whole,
        "shared, part": whole[2:4, 1:5],
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
    }


def test_every_kind_of_tensor_is_read(save, tensors):
    equal(torch_file.read(save(tensors)), {name: as_numpy(value) for name, value in tensors.items()})


def test_tensors_are_read_only_views_of_the_file(save, tensors):
    for value in torch_file.read(save(tensors)).values():
        assert not value.flags.writeable and not value.flags.owndata


@pytest.mark.parametrize("wrap", [
    lambda t: {"model": {"net": t}, "iteration": 600},
    lambda t: {"net": t},
    lambda t: {"state_dict": t, "decay": t["scalar"]},
    lambda t: collections.OrderedDict(t),
])  # fmt: skip
def test_wrappers_are_opened(save, tensors, wrap):
    equal(torch_file.read(save(wrap(tensors))), {name: as_numpy(value) for name, value in tensors.items()})


def test_a_module_s_state_dict_has_attributes_that_are_dropped(save):
    torch = pytest.importorskip("torch")
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    assert state._metadata
    equal(torch_file.read(save(state)), {name: as_numpy(value) for name, value in state.items()})


def test_one_bare_tensor_has_no_name(save):
    torch = pytest.importorskip("torch")
    value = torch.randn(1, 4, 2).to(torch.bfloat16)
    equal(torch_file.read(save(value)), {"": as_numpy(value)})


@pytest.mark.parametrize("content", [{}, {"a": 1, "b": "text"}, [1, 2], {"model": {"net": {}}}])
def test_a_file_without_tensors_is_refused(save, content):
    with pytest.raises(UserError, match="no tensors"):
        torch_file.read(save(content))


def test_a_whole_pickled_module_is_refused_by_name(save):
    torch = pytest.importorskip("torch")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear"):
        torch_file.read(save(torch.nn.Linear(2, 2)))


def test_numpy_arrays_are_refused_by_name(save):
    with pytest.raises(UserError, match=r"numpy.*_reconstruct.*nothing was executed"):
        torch_file.read(save({"a": np.zeros(3)}))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory) -> bytes:
    return write(tmp_path_factory.mktemp("zip") / "whole.pth", small()).read_bytes()


@pytest.fixture(scope="module")
def legacy(tmp_path_factory) -> bytes:
    return write_legacy(tmp_path_factory.mktemp("legacy") / "whole.pth", small()).read_bytes()


def write_legacy(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    torch_writer.write_legacy(path, {n: (t.shape, t.dtype) for n, t in tensors.items()}, tensors.__getitem__)
    return path


def test_the_legacy_file_is_whole(tmp_path, legacy):
    (tmp_path / "whole.pth").write_bytes(legacy)
    equal(torch_file.read(tmp_path / "whole.pth"), small())


@pytest.mark.parametrize("form", ["zipped", "legacy"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, request, form):
    whole, path = request.getfixturevalue(form), tmp_path / "cut.pth"
    for length in [*range(0, len(whole), STEP), *range(len(whole) - 30, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError) as refused:
            torch_file.read(path)
        assert "cut.pth" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("form", ["zipped", "legacy"])
def test_a_flipped_byte_never_gives_a_traceback(tmp_path, request, form):
    """Either the file is refused, or the flip hit numbers or an ignored field and the shapes are right."""
    whole, path = request.getfixturevalue(form), tmp_path / "flipped.pth"
    refusals = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = torch_file.read(path)
        except UserError:
            refusals += 1
        else:
            assert all(value.size <= len(whole) for value in found.values())
    assert refusals > len(whole) / 7 / 4


def test_a_flipped_byte_of_the_description_is_seen_by_its_sum(tmp_path, zipped):
    place = zipped.index(b"a.weight")
    path = tmp_path / "flipped.pth"
    path.write_bytes(zipped[:place] + b"z" + zipped[place + 1 :])
    with pytest.raises(UserError, match="CRC"):
        torch_file.read(path)


class Runs:
    """Unpickles by calling a function, as hostile files do."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def archive(path: Path, description: bytes, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", description)
        for name, content in ({"archive/data/0": bytes(64)} | (extra or {})).items():
            file.writestr(name, content)
    return path


FLOATS = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ"
"""The storage of sixteen float32 that `archive` holds."""


def described(offset=0, shape=(4,), strides=(1,), storage=FLOATS) -> bytes:
    """The pickle of {"a": one tensor}."""
    numbers = [pickle.dumps(n, 2)[2:-1] for n in (offset, tuple(shape), tuple(strides))]
    arguments = b"(" + storage + b"".join(numbers) + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_the_hand_written_description_is_whole(tmp_path):
    found = torch_file.read(archive(tmp_path / "good.pth", described(2, (3, 2), (4, 1))))
    np.testing.assert_array_equal(found["a"], np.zeros((3, 2)))


HOSTILE = {
    "call of the shell": (lambda mark: pickle.dumps(Runs(__import__("os").system, f"touch {mark}"), 2), "system"),
    "the same by the newest protocol": (
        lambda mark: pickle.dumps({"a": Runs(__import__("os").system, f"touch {mark}")}, 5), "system",
    ),
    "evaluation by name": (lambda mark: b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", r"builtins\.eval"),
    "evaluation by a name from the stack": (
        lambda mark: b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x8c\x011\x85R.", r"builtins\.eval",
    ),
    "an attribute of an allowed name": (
        lambda mark: b"\x80\x04\x8c\x05torch\x94\x8c\x0bSize.mro.fn\x94\x93.", r"torch\.Size\.mro",
    ),
    "file opened": (lambda mark: pickle.dumps(Runs(open, str(mark), "w"), 4), r"\.open"),
    "class made by the old instruction": (lambda mark: b"(X\x01\x00\x00\x001ios\nsystem\n.", "INST"),
    "class made without its constructor": (lambda mark: b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "registered extension": (lambda mark: b"\x80\x02\x82\x01.", "EXT1"),
    "outside buffer": (lambda mark: b"\x80\x05\x97.", "NEXT_BUFFER"),
    "object from outside": (lambda mark: b"\x80\x02X\x06\x00\x00\x00moduleK\x00K\x00K\x00K\x00tQ.", None),
    "object from outside, complete": (
        lambda mark: b"\x80\x02(X\x06\x00\x00\x00modulectorch\nFloatStorage\nK\x00K\x00K\x00tQ.", "'module'",
    ),
    "object from outside, named by text": (lambda mark: b"Pmodule\n.", "PERSID"),
    "change of a reader's function": (
        lambda mark: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.", "change",
    ),
    "change of a kind of numbers": (
        lambda mark: b"\x80\x02ctorch\nBFloat16Storage\n(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb.", "change",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_is_more_than_tensors_is_refused_and_does_nothing(tmp_path, name, form):
    make, named = HOSTILE[name]
    mark, path = tmp_path / "executed", tmp_path / "hostile.pth"
    if form == "zip":
        archive(path, make(mark))
    else:
        start = [torch_file.LEGACY_MAGIC, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(p, 2) for p in start) + make(mark))
    with pytest.raises(UserError, match=named) as refused:
        torch_file.read(path)
    assert not mark.exists()
    assert not named or "nothing was executed" in str(refused.value)


def test_bfloat16_is_the_same_after_a_file_that_would_change_it(tmp_path):
    make, _ = HOSTILE["change of a kind of numbers"]
    with pytest.raises(UserError):
        torch_file.read(archive(tmp_path / "hostile.pth", make(tmp_path)))
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2
    np.testing.assert_array_equal(np.ones(3, ml_dtypes.bfloat16).astype(np.float32), 1)


def test_a_state_dict_s_state_can_put_nothing_in_the_way(tmp_path):
    """OrderedDict's attributes are dropped, also one that would stand before a method."""
    tensor = described()[2:-1]
    description = (
        b"\x80\x02ccollections\nOrderedDict\n)R}(X\x05\x00\x00\x00itemsK\x01X\x03\x00\x00\x00getK\x01ub"
        + b"X\x01\x00\x00\x00a" + tensor[tensor.index(b"ctorch") :] + b"."
    )  # fmt: skip
    found = torch_file.read(archive(tmp_path / "odd.pth", description))
    assert found.keys() == {"a"}


@pytest.mark.parametrize(("changes", "named"), [
    ({"strides": (-1,)}, "shape"),
    ({"offset": -4}, "shape"),
    ({"shape": (-4,)}, "shape"),
    ({"shape": (2, 2)}, "shape"),
    ({"shape": (17,)}, "more numbers"),
    ({"shape": (2**62,), "strides": (0,)}, "more numbers"),
    ({"shape": (2**40, 2**40), "strides": (0, 0)}, "more numbers"),
    ({"offset": 13}, "beyond"),
    ({"strides": (6,)}, "beyond"),
    ({"strides": (2**62,)}, "beyond"),
    ({"offset": 2**70}, "beyond"),
    ({"storage": FLOATS.replace(b"K\x10", b"J\xff\xff\xff\x7f")}, "too few"),
    ({"storage": FLOATS.replace(b"K\x10", b"J\xff\xff\xff\xff")}, "two ways"),
    ({"storage": FLOATS.replace(b"\x000X", b"\x007X")}, "storage 7 are missing"),
    ({"storage": FLOATS.replace(b"\x01\x00\x00\x000X", b"\x08\x00\x00\x00../../etcX".replace(b"\x08", b"\x09"))},
     "missing"),
    ({"storage": b"K\x05"}, "no storage"),
])  # fmt: skip
def test_a_tensor_that_is_not_in_its_bytes_is_refused(tmp_path, changes, named):
    with pytest.raises(UserError, match=named):
        torch_file.read(archive(tmp_path / "bad.pth", described(**changes)))


def test_a_storage_of_two_kinds_is_refused(tmp_path):
    other = described(storage=FLOATS.replace(b"FloatS", b"HalfS"))[3:-1].replace(b"}", b"", 1)
    with pytest.raises(UserError, match="two ways"):
        torch_file.read(archive(tmp_path / "two.pth", described()[:-1] + other.replace(b"a", b"b", 1) + b"."))


@pytest.mark.parametrize("description", [
    b"\x80\x02}r\xff\xff\xff\xff.",  # Python's own reader would make room for four billion objects.
    b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",  # A key so deep that Python's own reader dies of it.
    b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a.",
    b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".",
    b"\x80\x02T\xff\xff\xff\x7fabc.",
    b"\x80\x02h\x07.",
    b"\x80\x02" + b"}" * 5 + b"s.",
    b"\x80\x02.",
    b"\x80\x02}}Ns.",
    b"not a pickle",
    b"",
])  # fmt: skip
def test_a_broken_description_is_refused(tmp_path, description):
    with pytest.raises(UserError, match=r"bad\.pth"):
        torch_file.read(archive(tmp_path / "bad.pth", description))


def rewritten(path: Path, whole: bytes, change) -> Path:
    """The archive `whole` written anew; `change` yields (entry name, bytes, kind of compression) for each entry."""
    source = path.with_name("source.zip")
    source.write_bytes(whole)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            for entry, content, kind in change(name, old.read(name)):
                new.writestr(entry, content, kind)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("change", "named"), [
    (lambda n, c: [(n, c, zipfile.ZIP_DEFLATED if "data/0" in n else 0)], "compressed"),
    (lambda n, c: [(n, c, zipfile.ZIP_DEFLATED if n.endswith(".pkl") else 0)], "compressed"),
    (lambda n, c: [(n, c, zipfile.ZIP_BZIP2)], "compressed"),
    (lambda n, c: [(n, c, 0)] + [("other/data.pkl", c, 0)] * n.endswith(".pkl"), "2 files data.pkl"),
    (lambda n, c: [(n, c, 0)] * (2 if n.endswith(".pkl") else 1), "two files of one name"),
    (lambda n, c: [(n, c, 0)] * (not n.endswith(".pkl")), "0 files data.pkl"),
    (lambda n, c: [(n, c, 0)] * ("data/1" not in n), "storage 1 are missing"),
    (lambda n, c: [(n, c[:-2] if "data/1" in n else c, 0)], "too few"),
    (lambda n, c: [(n, b"big" if "byteorder" in n else c, 0)], "big-endian"),
    (lambda n, c: [(f"../../{n}", c, 0)], None),
])  # fmt: skip
def test_an_odd_archive_is_refused(tmp_path, zipped, change, named):
    path = rewritten(tmp_path / "odd.pth", zipped, change)
    if named is None:  # Names with dots are names: nothing is ever unpacked.
        equal(torch_file.read(path), small())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["odd.pth", "source.zip"]
        return
    with pytest.raises(UserError, match=named):
        torch_file.read(path)


def test_an_encrypted_archive_is_refused(tmp_path, zipped):
    first = zipped.index(b"PK\x01\x02")
    path = tmp_path / "locked.pth"
    path.write_bytes(zipped[: first + 8] + b"\x01" + zipped[first + 9 :])
    with pytest.raises(UserError, match="encrypted"):
        torch_file.read(path)


def test_bytes_of_another_byte_order_are_refused(tmp_path):
    path = write_legacy(tmp_path / "big.pth", small())
    path.write_bytes(path.read_bytes().replace(b"\x88", b"\x89", 1))  # True becomes False.
    with pytest.raises(UserError, match="big-endian"):
        torch_file.read(path)


def test_a_legacy_file_of_a_graphics_card_is_read(tmp_path):
    path = write_legacy(tmp_path / "cuda.pth", small())
    path.write_bytes(path.read_bytes().replace(b"ctorch\nFloatStorage", b"ctorch.cuda\nFloatStorage"))
    equal(torch_file.read(path), small())


def test_a_file_that_can_not_be_opened_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        torch_file.read(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [
    b"", b"P", b"PK", b"\x80", b"<!DOCTYPE html>", bytes(100), b"PK\x05\x06" + bytes(18),
])  # fmt: skip
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.pth is truncated or damaged"):
        torch_file.read(path)
