"""SyncNet's parameters there and back again."""

import numpy as np
import pytest

from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.weights import syncnet_names
from lipforcing_jax.weights.recipe import component_weight

SMALL = SyncNetConfig((4, 5, 6, 7, 8, 9), (3, 4, 5, 6, 7, 8), hidden=10, embedding=11)


def tensors(cfg: SyncNetConfig) -> dict[str, np.ndarray]:
    return {name: component_weight(name, shape) for name, shape in syncnet_names.manifest(cfg).items()}


def test_the_published_layout():
    shapes = syncnet_names.manifest(SyncNetConfig())
    trained = {name: shape for name, shape in shapes.items() if "running_" not in name}
    assert sum(int(np.prod(shape)) for shape in trained.values()) == 13_631_616
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netfcaud.3.weight"] == (1024, 512)
    assert not shapes.keys() & set(syncnet_names.IGNORED)
    norms = {name.rsplit(".", 1)[0] for name in shapes if name.endswith("running_var")}
    assert norms == {name.removesuffix(".num_batches_tracked") for name in syncnet_names.IGNORED}


def test_a_round_trip_keeps_every_bit():
    given = tensors(SMALL)
    back = syncnet_names.export(syncnet_names.from_reference(given.__getitem__, SMALL), SMALL)
    assert back.keys() == given.keys()
    for name, value in given.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_another_shape_is_refused_by_name():
    given = tensors(SMALL)
    given["netcnnlip.4.weight"] = given["netcnnlip.4.weight"][:, :3]
    with pytest.raises(ValueError, match="netcnnlip.4.weight gives shape"):
        syncnet_names.from_reference(given.__getitem__, SMALL)


def test_a_missing_tensor_is_refused_by_name():
    given = tensors(SMALL)
    del given["netfclip.0.bias"]
    with pytest.raises(KeyError, match="netfclip.0.bias"):
        syncnet_names.from_reference(given.__getitem__, SMALL)
