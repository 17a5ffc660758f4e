"""The diffusion network, the sampler and the schedule by cases of a folder with a config.json.

Tolerances are the files' own: 1e-10 relative to the largest value in float64, 3e-6 in float32 (5e-6 guided).
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from golden_cases import Case

from golden_runs import stage2
from lipforcing_jax import flow
from lipforcing_jax.models import lora, presets
from lipforcing_jax.models.attention import attend
from lipforcing_jax.models.conditioning import condition_channels, group_audio
from lipforcing_jax.models.dit import DiT, sinusoid
from lipforcing_jax.models.presets import LoRAConfig, WindowConfig
from lipforcing_jax.models.rope import rotate, rotation
from lipforcing_jax.sampling import causal
from lipforcing_jax.sampling.plan import chunk_lengths
from lipforcing_jax.sampling.window import block_causal_mask, visible_frames, window_positions
from lipforcing_jax.weights import lora_names
from lipforcing_jax.weights.dit_names import export, from_reference, manifest
from lipforcing_jax.weights.recipe import diffusion_weight

Rows = Iterator[tuple[str, float, float]]
"""Yields (array, error relative to the largest value, tolerance); where tolerance is 0 the error must be."""


class Network:
    """The golden network in one precision, with the golden inputs."""

    def __init__(self, case: Case, dtype):
        self.case, self.goldens, self.cfg, self.dtype = case, case.goldens, case.goldens.dit, dtype
        shapes = manifest(self.cfg)
        tag = case.spec.get("weights_tag", "")
        state = from_reference(lambda key: diffusion_weight(key, shapes[key], tag), self.cfg, dtype)
        graphdef = nnx.graphdef(nnx.eval_shape(lambda: DiT(self.cfg, rngs=nnx.Rngs(0))))
        self.model = nnx.merge(graphdef, state)

    def array(self, value):
        return jnp.asarray(value, self.dtype)

    def condition(self, batch: int, suffix: str = "", ref_latent=None):
        take = lambda name: self.array(self.goldens.input(name, batch))  # noqa: E731
        reference = take("ref_latent") if ref_latent is None else ref_latent
        mask = self.array(self.goldens.mask())
        return condition_channels(reference, mask, take("masked_video" + suffix), take("ref_sequence" + suffix))

    def forward(self, x, t, condition, text, audio, window: WindowConfig | None = None):
        mask = None if window is None else jnp.asarray(block_causal_mask(x.shape[1], window))
        flow_out, _ = jax.jit(DiT.__call__)(
            self.model, x, condition, jnp.asarray(t, self.dtype), self.model.text_keys(self.array(text)),
            group_audio(self.array(audio)), positions=jnp.arange(x.shape[1]), frame_mask=mask,
        )  # fmt: skip
        return flow_out


def error(value, golden) -> float:
    value, golden = np.asarray(value, np.float64), np.asarray(golden, np.float64)
    assert value.shape == golden.shape
    return float(np.abs(value - golden).max() / np.abs(golden).max())


def outputs(kind, x, velocity, t):
    return np.moveaxis(np.asarray(velocity if kind == "flow" else flow.flow_to_x0(x, velocity, t)), -1, 1)


def run_bidirectional(net: Network, spec):
    g, batch = net.goldens, spec["batch"]
    x, condition = net.array(g.input("x_t", batch)), net.condition(batch)
    for name, array in spec["arrays"].items():
        t = jnp.asarray(array["t"], net.dtype)[:, None]
        velocity = net.forward(x, t, condition, g.input("text_embeds", batch), g.input("audio_emb", batch))
        yield name, outputs(array["output"], x, velocity, t)


def run_guidance(net: Network, spec):
    g, batch = net.goldens, spec["batch"]
    x, condition = net.array(g.input("x_t", batch)), net.condition(batch)
    text, audio = g.input("text_embeds", batch), g.input("audio_emb", batch)
    for name, array in spec["arrays"].items():
        t = jnp.asarray(array["t"], net.dtype)[:, None]
        negative_text = array.get("negative_text", spec["negative_text"])
        negative_text = np.zeros_like(text) if negative_text == "zeros" else g.input(negative_text, batch)
        negative = flow.flow_to_x0(x, net.forward(x, t, condition, negative_text, np.zeros_like(audio)), t)
        if array["output"] == "x0_guided":
            positive = flow.flow_to_x0(x, net.forward(x, t, condition, text, audio), t)
            scale = flow.guidance_scale(t[:, 0], spec["guidance_scale"], tuple(spec["sync_window"]))
            negative = flow.guide(positive, negative, scale)
        yield name, np.moveaxis(np.asarray(negative), -1, 1)


def run_intermediates(net: Network, spec):
    g, batch, model = net.goldens, spec["batch"], net.model
    tokens = np.asarray(g.read(spec)["token_index"])
    t = jnp.asarray(spec["t"], net.dtype)[:, None]
    x, condition = net.array(g.input("x_t", batch)), net.condition(batch)
    text = model.text_keys(net.array(g.input("text_embeds", batch)))
    grouped = group_audio(net.array(g.input("audio_emb", batch)))
    e, six = model.embed_time(t, net.dtype)
    found = {"token_index": tokens, "time_e": e[:, 0], "time_E": six[:, 0]}
    found["sinusoid"] = sinusoid(t[:, 0], net.cfg.freq_dim)
    found["context_first4"] = model.embed_text(net.array(g.input("text_embeds", batch)))[:, :4]
    found["audio_pack"] = model.audio_proj(grouped)
    vectors = model.audio_vectors(grouped)
    found |= {f"audio_cond_{j}": vectors[j] for j in range(vectors.shape[0])}
    hidden = model.patchify(jnp.concatenate([x, condition], -1))
    found["patch_tokens"] = hidden
    frames, height, width = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
    attention = model.attention_inputs((frames, height, width), jnp.arange(frames), None, None, net.dtype)
    graphdef, stacked = nnx.split(model.blocks)
    for i in range(net.cfg.num_layers):
        block = nnx.merge(graphdef, jax.tree.map(lambda p, i=i: p[i], stacked))
        kv = (text.k[i], text.v[i])
        heard = 2 <= i < 2 + vectors.shape[0]
        sound = jnp.repeat(vectors[i - 2], height * width, axis=1) if heard else jnp.zeros((), net.dtype)
        if i == 0:
            found |= block_zero(block, hidden, six, kv, attention)
        hidden, _ = block(hidden, sound, six, kv, attention, None)
        found[f"block{i}_out"] = hidden
    both = model.head_modulation[...][None] + e
    found["head_out"] = model.head(model.head_norm(hidden) * (1 + both[:, 1:2]) + both[:, 0:1])
    whole = {"token_index", "time_e", "time_E", "sinusoid", "context_first4", "audio_pack"}
    for name in spec["arrays"]:
        value = np.asarray(found[name])
        yield name, value if name in whole or name.startswith("audio_cond") else value[:, tokens]


def block_zero(block, x, six, text, attention):
    """Activations inside one block that hears no sound."""
    flat = lambda a: a.reshape(*a.shape[:2], -1)  # noqa: E731
    m = [(block.modulation[...] + six)[:, :, i] for i in range(6)]
    u = block.norm1(x) * (1 + m[1]) + m[0]
    q, (k, _) = block.self_attn.query(u), block.self_attn.key_value(u)
    found = {"block0_q_norm": flat(q), "block0_k_norm": flat(k)}
    found["block0_q_rope"] = flat(rotate(q, attention.q_rotation))
    found["block0_k_rope"] = flat(rotate(k, attention.k_rotation))
    attended, _ = block.attend_self(u, attention, None)
    x = x + attended * m[2]
    crossed = block.cross_attn.output(attend(block.cross_attn.query(block.norm3(x)), *text))
    x = x + crossed
    hidden = jax.nn.gelu(block.ffn_in(block.norm2(x) * (1 + m[4]) + m[3]), approximate=True)
    return found | {
        "block0_self_attn_out": attended, "block0_cross_attn_out": crossed, "block0_ffn_out": block.ffn_out(hidden)
    }  # fmt: skip


def run_causal_full(net: Network, spec):
    g, batch, suffix = net.goldens, spec["batch"], spec.get("input_suffix", "")
    x, condition = net.array(g.input("x_t" + suffix, batch)), net.condition(batch, suffix)
    t = jnp.asarray(spec["t_per_frame"], net.dtype)
    chunk = g.config["network"]["chunk_size"]
    for name, array in spec["arrays"].items():
        window = WindowConfig(chunk, array["window"], array["sink"], dynamic_rope=False)
        audio = g.input("audio_emb" + suffix, batch)
        velocity = net.forward(x, t, condition, g.input("text_embeds", batch), audio, window)
        yield name, outputs(array["output"], x, velocity, t)


def diffusion_forcing_inputs(net: Network, spec):
    g, batch = net.goldens, spec["batch"]
    real, eps = net.array(g.input(spec["clean"], batch)), net.array(g.input(spec["noise"], batch))
    lengths = chunk_lengths(real.shape[1], g.config["network"]["chunk_size"])
    t = np.repeat(np.asarray(spec["t_list"])[np.asarray(spec["t_index_per_chunk"])], lengths, axis=1)
    return real, flow.add_noise(real, eps, jnp.asarray(t, net.dtype)), t


def run_df_loss(net: Network, spec):
    g, batch = net.goldens, spec["batch"]
    real, noisy, levels = diffusion_forcing_inputs(net, spec)
    t = jnp.asarray(levels, net.dtype)
    window = WindowConfig(g.config["network"]["chunk_size"], spec["window"], spec["sink"], False)
    condition = net.condition(batch, ref_latent=real[:, :1])
    velocity = net.forward(noisy, t, condition, g.input("text_embeds", batch), g.input("audio_emb", batch), window)
    x0 = flow.flow_to_x0(noisy, velocity, t)
    yield "loss", 0.5 * jnp.mean((x0 - real) ** 2)
    yield "x0_sample0", np.moveaxis(np.asarray(x0[:1]), -1, 1)
    yield "noisy_sample1_frame0", np.moveaxis(np.asarray(noisy[1:, :1]), -1, 1)
    yield "t", levels  # Levels are float64 on the host in every run, as in the reference.


def run_ar_inference(net: Network, spec):
    g, cfg, model = net.goldens, net.cfg, net.model
    batch, chunk = spec["batch"], spec["chunk_size"]
    window = WindowConfig(chunk, spec["window"], spec["sink"], spec["rope"] == "dynamic")
    noise = net.array(g.input(spec["initial_noise"], batch)) * spec["initial_noise_scale"]
    masked, reference = (net.array(g.input(n, batch)) for n in ("masked_video", "ref_sequence"))
    first = net.array(g.input("ref_latent", batch))
    audio, mask = group_audio(net.array(g.input("audio_emb", batch))), net.array(g.mask())
    text = model.text_keys(net.array(g.input("text_embeds", batch)))
    frames, height, width = spec["latent_frames"], *noise.shape[2:4]
    state = causal.start(model, window, batch, height, width, net.dtype, frames)
    step = jax.jit(lambda state, c, n: causal.step(model, text, window, tuple(spec["t_list"]), mask, state, c, n))
    clean_keys = jax.jit(lambda state: causal.clean_keys(model, text, window, state))
    found = {"x0": [], "x0_step1": [], "k_cache": [], "v_cache": []}
    for k in range(frames // chunk):
        part = slice(k * chunk, (k + 1) * chunk)
        condition = causal.ChunkCondition(first, masked[:, part], reference[:, part], audio[:, part])
        draws = jnp.stack([noise[:, part], net.array(g.input(spec["renoise"].format(chunk=k), batch))])
        state, predictions = step(state, condition, draws)
        found["x0"].append(predictions[-1])
        found["x0_step1"].append(predictions[0])
        kv = clean_keys(state)
        rows = np.concatenate([np.asarray(spec["cache_tokens_per_frame"]) + f * (height // 2) * (width // 2)
                               for f in range(chunk)])  # fmt: skip
        keys = kv.k
        if "after" in spec["k_cache_stage"]:
            table = rotation(jnp.arange(k * chunk, (k + 1) * chunk), height // 2, width // 2, cfg.head_dim, net.dtype)
            keys = jax.vmap(lambda a, table=table: rotate(a, table))(keys)
        found["k_cache"].append(np.asarray(keys)[spec["cache_blocks"], 0][:, rows])
        found["v_cache"].append(np.asarray(kv.v)[spec["cache_blocks"], 0][:, rows])
    for name in spec["arrays"]:
        if name.startswith("x0"):
            yield name, np.moveaxis(np.concatenate(found[name], axis=1), -1, 1)
        else:
            yield name, np.stack(found[name])


def schedule(case: Case, dtype):
    g, spec = case.goldens, case.spec
    x0, eps = (jnp.asarray(g.input(n, spec["batch"]), dtype) for n in ("vsd_gen", "vsd_critic"))
    t = jnp.asarray(spec["t"], dtype)
    x_t, velocity = flow.add_noise(x0, eps, t), eps - x0
    found = {
        "x_t": x_t,
        "x0_from_flow": flow.flow_to_x0(x_t, velocity, t),
        "flow_from_x0": flow.x0_to_flow(x_t, x0, t),
        "eps_from_x0": flow.x0_to_eps(x_t, x0, t),
        "x0_from_eps": flow.eps_to_x0(x_t, eps, t),
        "eps_from_flow": flow.flow_to_eps(x_t, velocity, t),
        "latents_default": flow.initial_latents(eps),
    }
    for name in spec["arrays"]:
        yield name, np.moveaxis(np.asarray(found[name]), -1, 1)


def run_lora(net: Network, spec):
    """The same network with low-rank pairs beside its weights, and with the pairs merged into them."""
    g, cfg, batch, pair = net.goldens, net.cfg, spec["batch"], LoRAConfig(spec["rank"], spec["alpha"])
    shapes, tag = lora_names.manifest(cfg, pair), spec.get("weights_tag", "")
    pairs = lora_names.from_reference(lambda key: diffusion_weight(key, shapes[key], tag), cfg, pair, net.dtype)
    assert pair.scale == spec["scale"] and len(lora_names.export(pairs)) == spec["lora_tensors"]
    base = nnx.state(net.model, nnx.Param)
    whole = nnx.graphdef(nnx.eval_shape(lambda: DiT(cfg, lora=pair, rngs=nnx.Rngs(0))))
    x, t = net.array(g.input("x_t", batch)), jnp.asarray(spec["t"], net.dtype)[:, None]
    call = (x, t, net.condition(batch), g.input("text_embeds", batch), g.input("audio_emb", batch))
    merged = lora.merge(base, pairs, pair)
    net.model = nnx.merge(whole, base, pairs)
    yield "flow_unmerged", outputs("flow", x, net.forward(*call), t)
    net.model = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: DiT(cfg, rngs=nnx.Rngs(0)))), merged)
    yield "flow_merged", outputs("flow", x, net.forward(*call), t)
    matrix = export(merged, cfg)[spec["matrix"]]
    yield "merged_weight_rows64", matrix[:64]
    yield "merged_weight_row_sums", matrix.sum(axis=1)
    yield "merged_weight_col_sums", matrix.sum(axis=0)


NETWORK_RUNS = {
    "bidirectional": run_bidirectional,
    "guidance": run_guidance,
    "intermediates": run_intermediates,
    "causal_full": run_causal_full,
    "df_loss": run_df_loss,
    "ar_inference": run_ar_inference,
    "lora": run_lora,
}


def compare_arrays(case: Case, values, precision: str) -> Rows:
    golden, tolerances = case.goldens.read(case.spec), case.spec["arrays"]
    left = set(tolerances)
    for name, value in values:
        left.remove(name)
        yield name, error(value, golden[name]), tolerances[name]["tolerance"][precision]
    assert not left, f"arrays that nothing reproduces: {sorted(left)}"


def check_guidance_scale(case: Case, precision: str) -> Rows:
    table = case.goldens.read(case.spec)
    # The edges are told apart at the tenth digit, so the levels are compared in float64 in every run.
    with jax.enable_x64(True):
        found = [float(flow.guidance_scale(np.float64(t))) for t in table]
    yield f"{len(table)} levels", np.abs(np.subtract(found, list(table.values()))).max(), 0.0


def check_mask_table(case: Case, precision: str) -> Rows:
    def same(row) -> bool:
        mask = block_causal_mask(row["frames"], WindowConfig(row["chunk"], row["window"], row["sink"]))
        return [list(np.flatnonzero(m)) for m in mask] == row["visible_key_frames_per_query_frame"]

    table = case.goldens.read(case.spec)
    yield f"{len(table)} masks, share that differs", 1 - np.mean([same(row) for row in table]), 0.0


def check_ar_windows(case: Case, precision: str) -> Rows:
    def same(row, chunk) -> bool:
        window = WindowConfig(row["chunk"], row["window"], row["sink"], row["dynamic_rope"])
        positions = window_positions(*chunk["chunk"], window)
        return (visible_frames(*chunk["chunk"], window), *positions) == (
            chunk["key_frames"], chunk["key_positions"], chunk["query_positions"]
        )  # fmt: skip

    found = [same(row, chunk) for row in case.goldens.read(case.spec) for chunk in row["chunks"]]
    yield f"{len(found)} chunks, share that differs", 1 - np.mean(found), 0.0


def check_schedule_values(case: Case, precision: str) -> Rows:
    table = case.goldens.read(case.spec)
    # 1e-15 is the file's figure for one rounding in float64; the map has four.
    tolerance = 4 * (case.spec["tolerance"]["float64"] if precision == "float64" else 1e-6)
    yield "t_shifted", error(flow.shifted_t(jnp.asarray(table["u"], precision)), table["t_shifted"]), tolerance
    for steps, levels in table["default_t_list"].items():
        yield f"default_t_list_{steps}", error(flow.default_t_list(int(steps)), levels), tolerance


def check_df_grads(case: Case, precision: str) -> Rows:
    """Gradient of the diffusion-forcing loss, parameter by parameter."""
    source = Case(case.goldens, case.spec["case"])
    net = Network(source, jnp.dtype(precision))
    spec, g = source.spec, source.goldens
    real, noisy, levels = diffusion_forcing_inputs(net, spec)
    t = jnp.asarray(levels, net.dtype)
    window = WindowConfig(g.config["network"]["chunk_size"], spec["window"], spec["sink"], False)
    text, audio = (net.array(g.input(n, spec["batch"])) for n in ("text_embeds", "audio_emb"))
    condition = net.condition(spec["batch"], ref_latent=real[:, :1])
    graphdef, params = nnx.split(net.model)

    def loss(params):
        model = nnx.merge(graphdef, params)
        velocity, _ = model(
            noisy, condition, t, model.text_keys(text), group_audio(audio), positions=jnp.arange(noisy.shape[1]),
            frame_mask=jnp.asarray(block_causal_mask(noisy.shape[1], window)), remat=True,
        )  # fmt: skip
        return 0.5 * jnp.mean((flow.flow_to_x0(noisy, velocity, t) - real) ** 2)

    gradients = export(jax.jit(jax.grad(loss))(params), net.cfg)
    yield from stage2.check_gradient(gradients, case.goldens.read(case.spec), case.spec["tolerance"][precision])


def check_manifest(case: Case, precision: str) -> Rows:
    """Names and shapes of the released sizes."""
    table = case.goldens.read(case.spec)
    size = presets.by_name(table["model_size"].lower())
    same = manifest(size.dit) == {name: tuple(shape) for name, shape in table["parameters"].items()}
    yield f"{len(table['parameters'])} names and shapes", float(not same), 0.0


def check_lora_manifest(case: Case, precision: str) -> Rows:
    """Names and shapes of the pairs at the released sizes."""
    table = case.goldens.read(case.spec)
    size = presets.by_name(table["model_size"].lower())
    shapes = {name: tuple(shape) for name, shape in table["tensors"].items()}
    rank = next(iter(shapes.values()))[0]
    found = lora_names.manifest(size.dit, LoRAConfig(rank, rank / 2), style="injected")
    yield f"{len(shapes)} names and shapes", float(found != shapes), 0.0
    elements = sum(int(np.prod(shape)) for shape in found.values())
    yield "count and elements", float((len(found), elements) != (table["count"], table["elements"])), 0.0


def check_lora_keys(case: Case, precision: str) -> Rows:
    """The two spellings of the pairs' names."""
    table = case.goldens.read(case.spec)
    shapes = {name: tuple(shape) for name, shape in table["adapter"].items()}
    pair = LoRAConfig(next(iter(shapes.values()))[0])
    injected = lora_names.manifest(case.goldens.dit, pair, style="injected")
    yield "adapter", float(lora_names.manifest(case.goldens.dit, pair) != shapes), 0.0
    yield "injected", float(sorted(injected) != sorted(table["injected"])), 0.0
    yield "renamed", float({lora_names.adapter_name(name) for name in injected} != set(shapes)), 0.0


TABLE_CHECKS = {
    "guidance_scale": check_guidance_scale,
    "mask_table": check_mask_table,
    "ar_windows": check_ar_windows,
    "schedule_values": check_schedule_values,
    "df_grads": check_df_grads,
    "manifest": check_manifest,
    "lora_manifest": check_lora_manifest,
    "lora_keys": check_lora_keys,
}

CHECKS = TABLE_CHECKS | stage2.CHECKS


def run(case: Case, precision: str) -> Rows:
    """All rows of one case.

    Raises:
      ValueError: nobody knows the case's kind.
    """
    kind, dtype = case.spec["kind"], jnp.dtype(precision)
    if kind in CHECKS:
        yield from CHECKS[kind](case, precision)
    elif kind == "schedule":
        yield from compare_arrays(case, schedule(case, dtype), precision)
    elif kind in NETWORK_RUNS:
        yield from compare_arrays(case, NETWORK_RUNS[kind](Network(case, dtype), case.spec), precision)
    else:
        raise ValueError(f"{case.id}: no one knows how to reproduce the kind {kind!r}")
