"""Our `.pth` files are what PyTorch reads with weights only, bit by bit."""

import ml_dtypes
import numpy as np
import pytest

from lipforcing_jax.weights import torch_file, torch_writer


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = {
        kind.__name__: rng.integers(0, 100, (3, 4)).astype(kind)
        for kind in (np.float32, np.float16, np.float64, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_)
    }
    return values | {
        "bfloat16": rng.standard_normal((2, 3, 4)).astype(ml_dtypes.bfloat16),
        "scalar": np.asarray(3.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "transposed": rng.standard_normal((5, 2)).astype(np.float32).T,
        "name with ümlaut": np.arange(3),
    }


def write(path, values):
    torch_writer.write(path, {n: (v.shape, v.dtype) for n, v in values.items()}, values.__getitem__)
    return path


@pytest.mark.parametrize("writer", [torch_writer.write, torch_writer.write_legacy])
def test_torch_reads_the_file_with_weights_only(tmp_path, writer):
    torch = pytest.importorskip("torch")
    values, path = tensors(), tmp_path / "ours.pth"
    writer(path, {n: (v.shape, v.dtype) for n, v in values.items()}, values.__getitem__)
    found = torch.load(path, weights_only=True)
    assert list(found) == list(values)
    for name, value in values.items():
        tensor = found[name]
        assert tensor.is_contiguous() and tuple(tensor.shape) == value.shape, name
        bits = tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if name == "bfloat16" else tensor.numpy()
        assert bits.dtype == value.dtype
        np.testing.assert_array_equal(bits, value, err_msg=name)


def test_our_reader_returns_what_was_written(tmp_path):
    values = tensors()
    found = torch_file.read(write(tmp_path / "ours.pth", values))
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_wrappers_lie_around_the_dictionary(tmp_path):
    torch = pytest.importorskip("torch")
    value = np.arange(3.0)
    torch_writer.write(tmp_path / "a.pth", {"x": ((3,), value.dtype)}, lambda _: value, ("model", "net"))
    found = torch.load(tmp_path / "a.pth", weights_only=True)
    assert found.keys() == {"model"} and found["model"].keys() == {"net"} and found["model"]["net"].keys() == {"x"}
    np.testing.assert_array_equal(torch_file.read(tmp_path / "a.pth")["x"], value)


def test_the_same_tensors_make_the_same_file(tmp_path):
    first, second = (write(tmp_path / f"{i}.pth", tensors()).read_bytes() for i in range(2))
    assert first == second


def test_one_tensor_at_a_time_is_fetched(tmp_path):
    alive = []

    def get(name):
        alive.append(name)
        return np.full((4,), len(alive), np.float32)

    torch_writer.write(tmp_path / "a.pth", {n: ((4,), np.dtype(np.float32)) for n in "abc"}, get)
    assert alive == ["a", "b", "c"]
    assert [v[0] for v in torch_file.read(tmp_path / "a.pth").values()] == [1, 2, 3]


def test_a_tensor_that_is_not_as_announced_is_an_error(tmp_path):
    for value in (np.zeros(3, np.float16), np.zeros(4, np.float32)):
        with pytest.raises(ValueError, match="announced"):
            torch_writer.write(tmp_path / "a.pth", {"a": ((3,), np.dtype(np.float32))}, lambda _, v=value: v)


@pytest.mark.parametrize("value", [0, 1, 255, 256, 2**31 - 1, 2**31, 2**40, 2**63, 2**70])
def test_numbers_of_any_length_are_described(value):
    """A 14B checkpoint has offsets beyond 32 bits."""
    import pickle

    assert pickle.loads(b"\x80\x02" + torch_writer._number(value) + b".") == value
