"""The Wan autoencoder: whole clip, stream, every cache slot and every module's activations.

Tolerances are the goldens' suggestion of 1e-4 for float32 (the reference's own error is 8e-6); streaming may differ
from the whole clip by rounding, 1e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np

from golden_runs.component import Checks, Component, moments
from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.models.wan_vae import WanVAE, decode_clip, encode_clip
from lipforcing_jax.weights import wan_vae_names

TOLERANCE, STREAM = 1e-4, 1e-5


def network(case: Component) -> WanVAE:
    facts = case.facts["config"]
    assert not facts["attn_scales"], "attention inside the stages is not part of the release"
    cfg = WanVAEConfig(
        facts["dim"], facts["z_dim"], tuple(facts["dim_mult"]), facts["num_res_blocks"],
        tuple(facts["temperal_downsample"]), tuple(case.facts["latent_mean"]), tuple(case.facts["latent_std"]),
    )  # fmt: skip
    return case.build(WanVAE, cfg, wan_vae_names)


def channels_first(x) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def run(case: Component) -> Checks:
    vae, facts, golden = network(case), case.facts, case.arrays
    video = np.clip(0.5 * case.normal(facts["inputs"]["video"]), -1, 1).astype(np.float32)
    latent = case.normal(facts["inputs"]["latent"]).astype(np.float32)
    yield (
        "input sums",
        [video.sum(dtype=np.float64), latent.sum(dtype=np.float64)],
        list(facts["input_check"].values()),
        1e-3,
    )
    video, latent = (jnp.asarray(np.moveaxis(x, 1, -1)) for x in (video, latent))
    encode, decode = jax.jit(encode_clip), jax.jit(decode_clip)
    encoded, decoded = encode(vae, video), channels_first(decode(vae, latent))
    yield "latent_encoded", channels_first(encoded), golden["latent_encoded"], TOLERANCE
    single = channels_first(encode(vae, video[:, :1]))
    yield "latent_encoded_single_frame", single, golden["latent_encoded_single_frame"], TOLERANCE
    for name, whole in (("decoded", decoded), ("reconstruction", channels_first(decode(vae, encoded)))):
        part = case.part(name)
        yield name, whole[..., part, part], golden[name], TOLERANCE
    yield "decoded_frame_mean", decoded.mean(axis=(0, 1, 3, 4)), golden["decoded_frame_mean"], TOLERANCE
    yield "decoded_frame_std", decoded.std(axis=(0, 1, 3, 4)), golden["decoded_frame_std"], TOLERANCE
    yield from stream_checks(vae, video, encoded, latent, decoded, facts["streaming"])
    yield from activation_checks(vae, video, latent, facts["activations"])


def pieces(vae: WanVAE, coder, code, x, counts, first_count: int):
    """Codes `x` in calls of `counts` frames or latents; the stream's first is split off. Yields what comes out."""
    memory, place = coder.memory(x.shape[0], *x.shape[2:4]), 0
    for count in counts:
        out, part = [], x[:, place : place + count]
        if place == 0:
            y, memory = code(vae, part[:, :first_count], memory, True)
            out, part = [y], part[:, first_count:]
        if part.shape[1]:
            y, memory = code(vae, part, memory, False)
            out.append(y)
        place += count
        yield jnp.concatenate(out, axis=1), memory


def stream_checks(vae: WanVAE, video, encoded, latent, decoded, facts) -> Checks:
    encode, decode = (jax.jit(code, static_argnums=3) for code in (WanVAE.encode, WanVAE.decode))
    calls = facts["encode_frames_per_call"]
    parts = list(pieces(vae, vae.encoder, encode, video, calls, 1))
    lengths = [p.shape[1] for p, _ in parts]
    yield "streamed encode: latents per call", lengths, facts["encode_latents_per_call"], 0.0
    streamed = jnp.concatenate([p for p, _ in parts], axis=1)
    yield "streamed encode: whole clip", streamed, encoded, STREAM
    yield from slot_checks("encoder", parts[-1][1], facts["encoder_cache_after_last_call"])
    for suffix in ("", "_grouped"):
        calls = facts[f"decode_latents_per_call{suffix}"]
        parts = list(pieces(vae, vae.decoder, decode, latent, calls, 1))
        lengths = [p.shape[1] for p, _ in parts]
        yield f"streamed decode{suffix}: frames per call", lengths, facts[f"decode_frames_per_call{suffix}"], 0.0
        streamed = channels_first(jnp.concatenate([p for p, _ in parts], axis=1))
        yield f"streamed decode{suffix}: whole clip", streamed, decoded, STREAM
    yield from slot_checks("decoder", parts[-1][1], facts["decoder_cache_after_last_call"])


def slot_checks(half: str, memory, slots) -> Checks:
    """Shape, mean and spread of every slot that the reference fills."""
    used = [slot for slot in slots if slot.get("shape")]
    assert len(used) == len(memory)
    for slot, value in zip(used, memory, strict=True):
        assert channels_first(value).shape == tuple(slot["shape"]), f"{half} slot {slot['slot']}"
    moments = [(float(v.mean()), float(v.std())) for v in map(np.asarray, memory)]
    golden = [(slot["mean"], slot["std"]) for slot in used]
    yield f"{half} cache: mean and spread of {len(used)} slots", moments, golden, TOLERANCE


def activation_checks(vae: WanVAE, video, latent, facts) -> Checks:
    """Mean, spread and extremes of every layer's output at each call of the whole clip."""
    found: dict[str, list] = {}
    shift, spread = jnp.asarray(vae.cfg.latent_mean), jnp.asarray(vae.cfg.latent_std)
    for half, x, group in (("encoder", video, 4), ("decoder", vae.unmix(latent * spread + shift), 1)):
        call = jax.jit(walk, static_argnames=("half", "first"))
        coder = getattr(vae, half)
        memory = coder.memory(x.shape[0], *x.shape[2:4])
        for i, part in enumerate([x[:, :1], *(x[:, i : i + group] for i in range(1, x.shape[1], group))]):
            outputs, memory = call(coder, part, memory, half=half, first=i == 0)
            for name, y in outputs.items():
                found.setdefault(name, []).append(moments(y))
    compared = {name: calls for name, calls in facts.items() if name in found}
    assert compared.keys() == found.keys()
    ours, golden = [], []
    for name, calls in compared.items():
        ours += found[name]
        golden += [(call["mean"], call["std"], call["min"], call["max"]) for call in calls]
    # The extremes grow with depth, up to some tens; relative to them the tolerance is the same.
    scale = np.maximum(1, np.abs(golden).max(axis=1, keepdims=True))
    yield f"activations of {len(compared)} modules", np.asarray(ours) / scale, golden / scale, TOLERANCE


def walk(coder, x, memory, half: str, first: bool):
    """One call of a coder: the outputs of all layers by their reference names, and the memory after it."""
    left, count = list(memory), len(coder.layers)
    x, kept = coder.stem(x, left)
    outputs = {f"{half}.conv1": x}
    for i, layer in enumerate(coder.layers):
        x, more = layer(x, left, first)
        kept += more
        outputs[f"{half}.{wan_vae_names.place(half, i, count)}"] = x
    _, last = coder.head(jax.nn.silu(coder.head_norm(x)), left)
    return outputs, tuple(kept + last)
