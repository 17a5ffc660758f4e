"""Safetensors: mapped as they are, written as the library reads them, refused when anything is off."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import safetensors_file


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "b.weight": rng.standard_normal((2, 5, 1)).astype(ml_dtypes.bfloat16),
        "c": rng.standard_normal(7).astype(np.float16),
        "d": np.asarray(4, np.int64),
        "e": np.array([True, False, True]),
        "f": np.zeros((0, 3), np.float32),
    }


def write(path, values=None):
    values = tensors() if values is None else values
    safetensors_file.write(path, {n: (v.shape, v.dtype) for n, v in values.items()}, values.__getitem__)
    return path


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def raw(path, header, data: bytes = bytes(64)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_the_library_s_file_is_read(tmp_path):
    save_file(tensors(), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    found = safetensors_file.read(tmp_path / "theirs.safetensors")
    equal(found, tensors())
    assert not any(v.flags.owndata or v.flags.writeable for v in found.values())


def test_the_library_reads_our_file(tmp_path):
    equal(load_file(write(tmp_path / "ours.safetensors")), tensors())
    equal(safetensors_file.read(tmp_path / "ours.safetensors"), tensors())


def test_torch_s_file_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    value = torch.randn(4, 6).to(torch.bfloat16)
    save_torch({"a": value}, tmp_path / "torch.safetensors")
    found = safetensors_file.read(tmp_path / "torch.safetensors")["a"]
    np.testing.assert_array_equal(found.astype(np.float32), value.float().numpy())


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole, path = write(tmp_path / "whole.safetensors").read_bytes(), tmp_path / "cut.safetensors"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.safetensors is truncated or damaged"):
            safetensors_file.read(path)


def test_a_changed_header_never_gives_a_traceback(tmp_path):
    whole, path = write(tmp_path / "whole.safetensors").read_bytes(), tmp_path / "odd.safetensors"
    (length,) = struct.unpack("<Q", whole[:8])
    refusals = 0
    for place in range(8 + length):
        for flip in (0x01, 0x80)[place % 2 :]:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                found = safetensors_file.read(path)
            except UserError:
                refusals += 1
            else:
                assert sum(v.nbytes for v in found.values()) <= len(whole)
    assert refusals > length // 2


@pytest.mark.parametrize("header", [
    {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 64]}},
    {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 64]}},
    {"a": {"dtype": "F32", "shape": [15], "data_offsets": [0, 64]}},
    {"a": {"dtype": "F32", "shape": [16], "data_offsets": [64, 0]}},
    {"a": {"dtype": "F32", "shape": [16], "data_offsets": [4, 68]}},
    {"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}},
    {"a": {"dtype": "F99", "shape": [16], "data_offsets": [0, 64]}},
    {"a": {"dtype": "F32", "shape": [16]}},
    {"a": [1, 2]},
    [1, 2],
    b'{"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}',
    b"\xff\xfe",
    b"",
])  # fmt: skip
def test_a_header_that_does_not_fit_the_bytes_is_refused(tmp_path, header):
    with pytest.raises(UserError, match="truncated or damaged"):
        safetensors_file.read(raw(tmp_path / "bad.safetensors", header))


def test_tensors_over_one_another_are_refused(tmp_path):
    facts = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    with pytest.raises(UserError, match="truncated or damaged"):
        safetensors_file.read(raw(tmp_path / "bad.safetensors", {"a": facts, "b": facts}))


def test_a_gigantic_header_is_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(UserError, match="truncated or damaged"):
        safetensors_file.read(path)


def test_numbers_of_eight_bits_are_refused_by_name(tmp_path):
    header = {"a": {"dtype": "F8_E4M3", "shape": [64], "data_offsets": [0, 64]}}
    with pytest.raises(UserError, match="F8_E4M3"):
        safetensors_file.read(raw(tmp_path / "small.safetensors", header))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError):
            safetensors_file.read(path)


def test_a_tensor_that_is_not_as_announced_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="announced"):
        safetensors_file.write(
            tmp_path / "a.safetensors", {"a": ((3,), np.dtype(np.float32))}, lambda _: np.zeros(3, np.float16)
        )
