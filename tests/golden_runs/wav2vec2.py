"""wav2vec2: convolutions, interpolation, features. Tolerance 1e-4, the goldens' suggestion for float32."""

import jax
import jax.numpy as jnp
import numpy as np

from golden_runs.component import Checks, Component, moments, stated
from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.weights import wav2vec2_names

INPUTS = ("wave_",)
TOLERANCE = 1e-4


def network(case: Component) -> Wav2Vec2:
    facts = case.facts["config"]
    assert not facts["conv_bias"] and not facts["do_stable_layer_norm"] and facts["feat_extract_norm"] == "group"
    cfg = Wav2Vec2Config(
        facts["hidden_size"], facts["num_hidden_layers"], facts["num_attention_heads"], facts["intermediate_size"],
        tuple(facts["conv_dim"]), tuple(facts["conv_kernel"]), tuple(facts["conv_stride"]),
        facts["num_conv_pos_embeddings"], facts["num_conv_pos_embedding_groups"],
    )  # fmt: skip
    return case.build(Wav2Vec2, cfg, wav2vec2_names)


def run(case: Component) -> Checks:
    model, golden = network(case), case.arrays
    for name, facts in case.facts["cases"].items():
        wave = jnp.asarray(golden[f"wave_{name}"].astype(np.float32) / 32768)
        frames = wav2vec2.frame_count(len(wave), model.cfg, facts["requested_frames"])
        yield f"frames_{name}", frames, facts["seq_len"], 0.0
        normal = wav2vec2.normalise(wave)
        first = facts["normalised_wave_first"]
        yield f"normalised_{name}", [*normal[: len(first)], *moments(normal)], [
            *first, *stated(facts["normalised_wave_stats"])
        ], TOLERANCE  # fmt: skip
        rows = jax.jit(Wav2Vec2.convolve)(model, wav2vec2.pad(normal, frames, model.cfg)[None])
        yield f"cnn_frames_{name}", rows.shape[1], facts["cnn_frames"], 0.0
        stored = golden[f"cnn_first_rows_{name}"]
        yield f"cnn_first_rows_{name}", rows[0, : len(stored)], stored, TOLERANCE
        yield f"cnn_stats_{name}", moments(rows), stated(facts["cnn_stats"]), TOLERANCE
        between = wav2vec2.interpolate(rows, frames)[0, np.array([0, 1, frames // 2, frames - 1])]
        yield f"interpolated_rows_{name}", between, golden[f"interpolated_rows_{name}"], TOLERANCE
        features = jax.jit(wav2vec2.encode, static_argnums=2)(model, wave, frames)
        yield f"features_{name}", features, golden[f"features_{name}"], TOLERANCE
        yield f"features_stats_{name}", moments(features), stated(facts["features_stats"]), TOLERANCE
