"""wav2vec2 for long files: what is exact and what the window costs. Whole files: tests/golden_runs/wav2vec2.py."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.models.wav2vec2 import Wav2Vec2, encode, encode_span, prepare, spans
from lipforcing_jax.weights import wav2vec2_names
from lipforcing_jax.weights.recipe import component_weight

CFG = Wav2Vec2Config(
    hidden_size=32, num_layers=2, num_heads=2, intermediate_size=48, conv_dim=(16,) * 7, position_taps=8,
    position_groups=4,
)  # fmt: skip


def recipe_state(cfg):
    shapes = wav2vec2_names.manifest(cfg)
    return wav2vec2_names.from_reference(lambda name: component_weight(name, shapes[name]), cfg)


@pytest.fixture(scope="module")
def model():
    return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: Wav2Vec2(CFG, rngs=nnx.Rngs(0)))), recipe_state(CFG))


@pytest.fixture(scope="module")
def wave():
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.05, 1, 24), 2000)[:47700]
    return jnp.asarray(0.2 * loudness * rng.standard_normal(47700), jnp.float32)


FRAMES = 75
span_of = jax.jit(encode_span, static_argnames=("span", "context"))


@pytest.fixture(scope="module")
def whole(model, wave):
    return jax.jit(encode, static_argnums=2)(model, wave, FRAMES)


def test_the_first_layer_is_told_the_whole_files_statistics(model, wave):
    sound = prepare(model, wave, FRAMES, block=1000)
    x = model.convs[0](sound.wave[None, :, None])[0]
    np.testing.assert_allclose(sound.stats.mean, x.mean(0), atol=1e-6)
    np.testing.assert_allclose(sound.stats.variance, x.var(0), rtol=1e-4)


@pytest.mark.parametrize("start", [0, 13, 50])
def test_with_context_over_the_whole_file_a_span_is_exact(model, wave, whole, start):
    part = span_of(model, prepare(model, wave, FRAMES), jnp.asarray(start), 25, FRAMES)
    np.testing.assert_allclose(part, whole[start : start + 25], atol=2e-5)


def test_rows_of_a_span_are_those_of_the_whole_file(model, wave):
    """Everything up to the transformer is exact with any context: a transformer that is the identity shows it."""
    rows = wav2vec2.interpolate(model.convolve(wav2vec2.pad(wav2vec2.normalise(wave), FRAMES, CFG)[None]), FRAMES)[0]
    sound = prepare(model, wave, FRAMES)
    bare = nnx.clone(model)
    bare.transform = lambda mixed: mixed
    for start in (0, 1, 30, 65):
        part = encode_span(bare, sound, jnp.asarray(start), 10, 4)
        np.testing.assert_allclose(part, rows[start : start + 10], atol=2e-6)


def test_more_context_brings_a_span_nearer_to_the_whole_file(model, wave, whole):
    sound = prepare(model, wave, FRAMES)
    errors = [
        float(np.abs(span_of(model, sound, jnp.asarray(30), 10, context) - whole[30:40]).mean())
        for context in (1, 8, 28)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


def test_one_program_serves_all_spans(model, wave):
    sound = prepare(model, wave, FRAMES)
    step = jax.jit(lambda model, sound, start: encode_span(model, sound, start, 20, 10))
    parts = [step(model, sound, jnp.asarray(start)) for start in spans(FRAMES, 20)]
    assert step._cache_size() == 1 and [len(p) for p in parts] == [20] * 4
    np.testing.assert_array_equal(spans(FRAMES, 20), [0, 20, 40, 55])


@pytest.mark.parametrize("frames, rows", [(1, 2), (2, 2), (7, 31), (90_000, 179_999)])
def test_places_are_the_corner_aligned_ones(frames, rows):
    place = wav2vec2._positions(jnp.arange(frames), rows, frames)
    exact = np.arange(frames) * (rows - 1) / max(frames - 1, 1)
    np.testing.assert_allclose(np.asarray(place.row, np.float64) + np.asarray(place.part, np.float64), exact, atol=1e-3)
    assert int(place.row[-1]) <= rows - 1


def test_a_sound_longer_than_its_frames_is_refused(model, wave):
    with pytest.raises(ValueError, match="more than 10 frames"):
        encode(model, wave, 10)


def test_names_round_trip():
    state = recipe_state(CFG)
    tensors = wav2vec2_names.export(state, CFG)
    assert {name: value.shape for name, value in tensors.items()} == wav2vec2_names.manifest(CFG)
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, component_weight(name, value.shape))


def test_published_spellings_are_understood():
    name = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    assert wav2vec2_names.bare_name(name) == "encoder.pos_conv_embed.conv.weight_v"


def test_a_tensor_of_another_shape_is_named():
    wide = wav2vec2_names.manifest(replace(CFG, intermediate_size=50))
    with pytest.raises(ValueError, match="intermediate_dense"):
        wav2vec2_names.from_reference(lambda name: component_weight(name, wide[name]), CFG)
