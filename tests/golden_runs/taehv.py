"""TAEHV: decoding and encoding, whole and as a stream, layer by layer.

Tolerance 1e-4, the goldens' suggestion for float32: the reference's own rounding error is 4.6e-6.
"""

import dataclasses
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from golden_runs.component import Checks, Component, moments, stated
from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TinyDecoder, TinyVAE, lead_in, per_frame
from lipforcing_jax.weights import recipe, sizes, tiny_vae_names
from lipforcing_jax.weights.source import Source

TOLERANCE = 1e-4
LEAD = 3
"""Frames at the beginning of a stream that are not shown."""
decode_raw, decode, encode = nnx.jit(TinyDecoder.__call__), nnx.jit(TinyVAE.decode), nnx.jit(TinyVAE.encode)


def config(case: Component) -> TinyVAEConfig:
    empty = {name: np.broadcast_to(np.float32(0), shape) for name, shape in case.shapes.items()}
    told = {name: tuple(v) if isinstance(v, list) else v for name, v in case.facts["config"].items()}
    return dataclasses.replace(sizes.tiny_vae(Source(empty, (case.folder,))), **told)


def channels_last(value: np.ndarray, facts: dict) -> jax.Array:
    """An input, checked against the file's sum."""
    np.testing.assert_allclose(value.sum(dtype=np.float64), facts["sum"], atol=1e-3)
    return jnp.moveaxis(jnp.asarray(value), 2, -1)


def latents(case: Component, facts: dict) -> jax.Array:
    scale = float(re.match(r"\(([\d.]+) \* standard_normal\)", facts["formula"])[1])
    return channels_last((scale * case.normal(facts)).astype(np.float32), facts)


def channels_first(frames) -> np.ndarray:
    """Frames of the one clip in the reference's order."""
    return np.moveaxis(np.asarray(frames), -1, 2)[0]


def run(case: Component) -> Checks:
    cfg = config(case)
    vae = case.build(TinyVAE, cfg, tiny_vae_names)
    half = lambda h: sum(int(np.prod(s)) for n, s in case.shapes.items() if n.startswith(h))  # noqa: E731
    counted = case.facts["parameter_count"]
    yield "parameters", [half(h) for h in counted], list(counted.values()), 0.0
    for facts in case.facts["decode_cases"]:
        yield from decode_checks(case, vae, facts)
    yield from activation_checks(vae, latents(case, case.facts["decode_cases"][0]["input"]), case)
    yield from causality_checks(case, vae)
    yield from tall_checks(case, cfg)
    yield from encode_checks(case, vae)


def decode_whole(vae: TinyVAE, z) -> np.ndarray:
    """All frames as they are, neither clamped nor cut."""
    memory = vae.decoder.memory(z.shape[0], *z.shape[2:4])
    return channels_first(decode_raw(vae.decoder, z, memory)[0])


def decode_checks(case: Component, vae: TinyVAE, facts: dict) -> Checks:
    name, golden, z = f"t{facts['T']}", case.arrays, latents(case, facts["input"])
    raw = decode_whole(vae, z)
    shown, part, rows = np.clip(raw, 0, 1)[LEAD:], case.part("raw_t<T>"), case.part("decoded_t<T>_rows")
    yield f"raw_{name}", raw[:, :, part, part], golden[f"raw_{name}"], TOLERANCE
    means = shown.mean(axis=(1, 2, 3), dtype=np.float64)
    yield f"decoded_{name}_frame_mean", means, golden[f"decoded_{name}_frame_mean"], TOLERANCE
    yield f"decoded_{name}_rows", shown[:, :, rows], golden[f"decoded_{name}_rows"], TOLERANCE
    yield f"frames_{name}", [len(raw), len(shown)], [facts["raw_frames"], facts["decoded_frames"]], 0.0
    yield f"raw_stats_{name}", moments(raw), stated(facts["raw_stats"]), TOLERANCE
    yield f"decoded_stats_{name}", moments(shown), stated(facts["decoded_stats"]), TOLERANCE
    # A value within rounding of 0 or 1 may fall on the other side.
    clamped = np.mean((raw < 0) | (raw > 1))
    yield f"fraction_clamped_{name}", clamped, facts["fraction_clamped"], TOLERANCE
    memory, frames = None, []
    for i in range(z.shape[1]):
        drawn, memory = decode(vae, z[:, i : i + 1], memory)
        frames.append(channels_first(drawn)[LEAD if i == 0 else 0 :])
    emitted = facts["streaming"]["frames_emitted_per_latent"]
    yield f"stream_{name}: frames per latent", [len(f) for f in frames], emitted, 0.0
    yield f"stream_{name}: whole clip", np.concatenate(frames), shown, TOLERANCE


def activation_checks(vae: TinyVAE, z, case: Component) -> Checks:
    """Shape, mean, spread and extremes after every entry of the reference's list of layers."""
    rows, ours, golden = case.facts["decoder_activations_first_case"], [], []
    for row, value in zip(rows, walked(vae, z), strict=True):
        assert channels_first(value).shape == tuple(row["shape"]), f"decoder.{row['index']}"
        ours.append(moments(value))
        golden.append(stated(row))
    yield f"decoder: {len(rows)} layers", ours, golden, TOLERANCE


@jax.jit
def walked(vae: TinyVAE, x) -> list[jax.Array]:
    return list(walk(vae, x))


def walk(vae: TinyVAE, x) -> Iterator[jax.Array]:
    """The outputs of the decoder's whole list, clamp, rectifiers and upsamplings included."""
    decoder, memory = vae.decoder, list(vae.decoder.memory(x.shape[0], *x.shape[2:4]))
    yield (x := 3 * jnp.tanh(x / 3))
    yield (x := per_frame(decoder.stem, x))
    yield (x := jax.nn.relu(x))
    spaces = vae.cfg.decoder_space_upscale
    for stage, up, grow, out in zip(decoder.stages, spaces, decoder.grows, decoder.outs, strict=True):
        for block in stage:
            x, _ = block(x, memory.pop(0))
            yield x
        yield (x := jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3) if up else x)
        yield (x := grow(x))
        yield (x := per_frame(out, x))
    yield (x := jax.nn.relu(x))
    yield per_frame(decoder.head, x)


def causality_checks(case: Component, vae: TinyVAE) -> Checks:
    """Which shown frames another latent changes."""
    facts = case.facts["causality"]
    z = latents(case, next(c["input"] for c in case.facts["decode_cases"] if c["T"] == facts["T"]))
    other = z.at[:, facts["changed_latent"]].add(1)
    change = np.abs(decode_whole(vae, other) - decode_whole(vae, z))[LEAD:].max(axis=(1, 2, 3))
    found = np.flatnonzero(change)[[0, -1]]
    yield "causality", found, facts["first_and_last_changed_output_frame_after_drop"], 0.0


def tall_checks(case: Component, cfg: TinyVAEConfig) -> Checks:
    """A tensor stored for more frames than the layout makes keeps its last ones."""
    name, shape = re.search(
        r"stored (\S+) has shape \[([\d,]+)\]", case.facts["array_notes"]["raw_tall_timegrow"]
    ).groups()
    tall = recipe.component_weight(name, tuple(map(int, shape.split(","))), case.facts["weight_key_prefix"])
    vae = case.build(TinyVAE, cfg, tiny_vae_names, lambda key: tall if key == name else case.weight(key))
    raw, part = decode_whole(vae, latents(case, case.facts["decode_cases"][0]["input"])), case.part("raw_tall_timegrow")
    yield "raw_tall_timegrow", raw[:, :, part, part], case.arrays["raw_tall_timegrow"], TOLERANCE


def encode_checks(case: Component, vae: TinyVAE) -> Checks:
    facts = case.facts["encode_input"]
    middle, scale = re.match(r"clip\(([\d.]+) \+ ([\d.]+) \* standard_normal, 0, 1\)", facts["formula"]).groups()
    drawn = np.clip(float(middle) + float(scale) * case.normal(facts), 0, 1).astype(np.float32)
    frames = channels_last(drawn, facts)
    ends = jnp.concatenate([frames, jnp.repeat(frames[:, -1:], -frames.shape[1] % 4, axis=1)], axis=1)
    for name, clip in (("encoded_end_padded", ends), ("encoded_front_padded", lead_in(frames))):
        whole = encode(vae, clip)[0]
        yield name, channels_first(whole), case.arrays[name], TOLERANCE
        memory, parts = None, []
        for i in range(0, clip.shape[1], 4):
            latent, memory = encode(vae, clip[:, i : i + 4], memory)
            parts.append(latent)
        yield f"{name}: as a stream", jnp.concatenate(parts, axis=1), whole, TOLERANCE
