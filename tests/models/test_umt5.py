"""The text encoder's own properties; its numbers: tests/golden_runs/umt5.py."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import Layer, UMT5Encoder, bucket, buckets
from lipforcing_jax.weights import umt5_names
from lipforcing_jax.weights.recipe import component_weight

CFG = UMT5Config(vocab=40, dim=32, ffn_dim=48, num_heads=2, head_dim=8, num_layers=3)


def recipe_state(cfg=CFG):
    shapes = umt5_names.manifest(cfg)
    return umt5_names.from_reference(lambda name: component_weight(name, shapes[name]), cfg)


@pytest.fixture(scope="module")
def model():
    return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: UMT5Encoder(CFG, rngs=nnx.Rngs(0)))), recipe_state())


@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (16, 64), (8, 20), (24, 100)])
def test_buckets_grow_with_distance_and_tell_before_from_after(num_buckets, max_distance):
    cfg = replace(CFG, num_buckets=num_buckets, max_distance=max_distance)
    after = [bucket(d, cfg) for d in range(1, 2 * max_distance)]
    before = [bucket(-d, cfg) for d in range(1, 2 * max_distance)]
    assert after == sorted(after) and [b + num_buckets // 2 for b in before] == after
    assert set(before) | {bucket(0, cfg)} == set(range(num_buckets // 2))
    assert bucket(max_distance, cfg) == num_buckets - 1


def test_rows_are_queries():
    table = buckets(5, CFG)
    assert table[0, 4] == bucket(4, CFG) and table[4, 0] == bucket(-4, CFG) and table.shape == (5, 5)


def test_padding_changes_nothing(model):
    """So the encoder needn't be given any."""
    ids = jnp.arange(2, 9)[None]
    padded = jnp.pad(ids, ((0, 0), (0, 20)))
    np.testing.assert_allclose(model(padded, padded > 0)[:, :7], model(ids), atol=1e-5)
    assert np.abs(model(padded)[:, :7] - model(ids)).max() > 0.01


def test_layers_one_by_one_are_the_stack(model):
    ids = jnp.arange(3, 10)[None]
    x, shapes = model.embedding(ids), umt5_names.manifest(CFG)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Layer(CFG, rngs=nnx.Rngs(0))))
    for i in range(CFG.num_layers):
        state = umt5_names.layer_from_reference(lambda name: component_weight(name, shapes[name]), CFG, i)
        x = nnx.merge(graphdef, state)(x)
    np.testing.assert_allclose(model.norm(x), model(ids), atol=1e-5)


def test_names_round_trip():
    tensors = umt5_names.export(recipe_state(), CFG)
    assert {name: value.shape for name, value in tensors.items()} == umt5_names.manifest(CFG)
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, component_weight(name, value.shape))


def test_sizes_follow_from_the_shapes():
    assert umt5_names.config(umt5_names.manifest(CFG)) == CFG
    assert umt5_names.config(umt5_names.manifest(UMT5Config())) == UMT5Config()


def test_the_released_encoder_has_5_68_billion_parameters():
    shapes = umt5_names.manifest(UMT5Config()).values()
    assert round(sum(int(np.prod(shape)) for shape in shapes) / 1e9, 2) == 5.68


def test_a_tensor_of_another_shape_is_named():
    wide = umt5_names.manifest(replace(CFG, ffn_dim=50))
    with pytest.raises(ValueError, match="blocks.0.ffn"):
        umt5_names.from_reference(lambda name: component_weight(name, wide[name]), CFG)
