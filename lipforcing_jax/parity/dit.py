"""The diffusion transformer beside diffusers' `WanTransformer3DModel`.

The peer knows no sound, so our audio projections are zero here; the sound's way in is proven by reference numbers. The
peer computes its timestep sinusoid in float32, where the angle near 769 is wrong by 3e-5: the comparison at t = 0.769
allows for that, and another at t = 0.001, where the angle is small, allows for rounding only.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers import WanTransformer3DModel
from flax import nnx

from lipforcing_jax.models.conditioning import repeat_per_token
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import PRESETS, DiTConfig
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import dit_names
from lipforcing_jax.weights.dit_diffusers import native_name
from lipforcing_jax.weights.recipe import diffusion_weight, normal

PEER = "diffusers"
SMALL = DiTConfig(192, 2, 320, 6, text_dim=64, text_len=12, audio_dim=24, audio_hidden=32)
FLOAT32 = 1e-5
"""Six blocks and two frameworks' orders of summation; measured 1e-6."""
FLOAT32_ANGLE = 1e-4
BFLOAT16 = 1.5e-2
"""Of the largest value, after the last block; the reference's own bfloat16 run is off by 6e-3 to 1e-2."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """Small network in float32 and in bfloat16; with `full_width` also the width of 14B and all of 1.3B.

    Four blocks of 14B are the fewest that have a place for the sound.
    """
    yield from compare_network("dit", SMALL, grid=(5, 8, 8))
    yield from bfloat16_drift(SMALL, grid=(5, 8, 8))
    if full_width:
        wide = PRESETS["14b"].dit
        few = DiTConfig(wide.dim, wide.num_heads, wide.ffn_dim, 4)
        yield from compare_network("dit, 14B width, 4 blocks", few, grid=(2, 4, 4))
        yield from compare_network("dit, 1.3B whole", PRESETS["1.3b"].dit, grid=(2, 4, 4))


def weight(name: str, shape) -> np.ndarray:
    """Recipe weight of a reference name, float32; zero where the peer has no counterpart."""
    if name.startswith("audio_cond_projs"):
        return np.zeros(shape, np.float32)
    return diffusion_weight(name, shape).astype(np.float32)


def inputs(cfg: DiTConfig, grid: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All 65 channels [1, t, h, w, c] and the text [1, l, d]."""
    channels = normal("input:parity.x", (1, *grid, cfg.in_dim)).astype(np.float32)
    return channels, normal("input:parity.text", (1, cfg.text_len, cfg.text_dim)).astype(np.float32)


def build_peer(cfg: DiTConfig, dtype=torch.float32) -> WanTransformer3DModel:
    """The peer on the recipe's weights, one tensor at a time."""
    with torch.device("meta"):
        model = WanTransformer3DModel(
            patch_size=cfg.patch, num_attention_heads=cfg.num_heads, attention_head_dim=cfg.head_dim,
            in_channels=cfg.in_dim, out_channels=cfg.latent_channels, text_dim=cfg.text_dim, freq_dim=cfg.freq_dim,
            ffn_dim=cfg.ffn_dim, num_layers=cfg.num_layers,
        )  # fmt: skip
    shapes = dit_names.manifest(cfg)
    for name in model.state_dict():
        native = native_name(name)
        module, _, leaf = name.rpartition(".")
        value = torch.from_numpy(weight(native, shapes[native])).to(dtype)
        setattr(model.get_submodule(module), leaf, torch.nn.Parameter(value, requires_grad=False))
    model.rope = type(model.rope)(cfg.head_dim, cfg.patch, 1024)
    return model.eval()


def run_peer(model, cfg: DiTConfig, channels, text, levels) -> dict[float, list[np.ndarray]]:
    """Per noise level the outputs of all blocks [b, n, d] and last the flow [b, t, h, w, c]."""
    dtype, found, outputs = model.patch_embedding.weight.dtype, {}, []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _i, out: outputs.append(out.float().numpy()))
    moved = torch.from_numpy(np.moveaxis(channels, -1, 1).copy()).to(dtype)
    with torch.no_grad():
        for t in levels:
            outputs.clear()
            flow = model(moved, torch.tensor([1000.0 * t]), torch.from_numpy(text).to(dtype), return_dict=False)[0]
            found[t] = [*outputs, np.moveaxis(flow.float().numpy(), 1, -1)]
    return found


def run_ours(cfg: DiTConfig, channels, text, levels, dtype=jnp.float32) -> dict[float, list[np.ndarray]]:
    """The same from our network: the stack unrolled, so that every block's output can be seen."""
    shapes = dit_names.manifest(cfg)
    flat = nnx.to_flat_state(dit_names.from_reference(lambda name: weight(name, shapes[name]), cfg))
    paths, leaves = flat.paths, list(flat.leaves)
    del flat
    for i, leaf in enumerate(leaves):  # one at a time, so that the network is not in memory twice
        leaves[i] = leaf.replace(jnp.asarray(leaf[...], dtype))
    state = nnx.from_flat_state(zip(paths, leaves, strict=True))
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: DiT(cfg, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0))))
    forward = jax.jit(lambda state, *call: blocks_and_flow(nnx.merge(graphdef, state), *call))
    given = [jnp.asarray(value, dtype) for value in (channels, text)]
    found = {t: forward(state, *given, jnp.full((1, 1), t)) for t in levels}
    return {t: [np.asarray(value, np.float32) for value in values] for t, values in found.items()}


def blocks_and_flow(model: DiT, channels, text, t) -> list:
    """Outputs of all blocks and the flow, without sound."""
    cfg, (batch, frames, height, width) = model.cfg, channels.shape[:4]
    tokens = (height // cfg.patch[1]) * (width // cfg.patch[2])
    grid = (frames, height // cfg.patch[1], width // cfg.patch[2])
    attention = model.attention_inputs(grid, jnp.arange(frames), None, None, channels.dtype)
    keys, (e, projected) = model.text_keys(text), model.embed_time(t, channels.dtype)
    six = repeat_per_token(projected.reshape(batch, 1, -1), tokens).reshape(batch, 1, 6, cfg.dim)
    graphdef, stacked = nnx.split(model.blocks)
    hidden, found = model.patchify(channels), []
    for i in range(cfg.num_layers):
        block = nnx.merge(graphdef, jax.tree.map(lambda p, i=i: p[i], stacked))
        hidden, _ = block(hidden, jnp.zeros((), hidden.dtype), six, (keys.k[i], keys.v[i]), attention, None)
        found.append(hidden)
    return [*found, model.predict(hidden, e, tokens, channels.shape)]


def compare_network(name: str, cfg: DiTConfig, grid, tolerance: float = FLOAT32) -> Iterator[Row]:
    """Last block and flow in float32. One network is in memory at a time."""
    given, levels = inputs(cfg, grid), (0.001, 0.769)
    theirs = run_peer(build_peer(cfg), cfg, *given, levels)
    ours = run_ours(cfg, *given, levels)
    for t in levels:
        allowed = tolerance if t == 0.001 else max(tolerance, FLOAT32_ANGLE)
        for array, i in (("first block", 0), ("last block", -2), ("flow", -1)):
            yield compare(name, f"{array}, t = {t}", PEER, ours[t][i], theirs[t][i], allowed)


def bfloat16_drift(cfg: DiTConfig, grid, t: float = 0.769) -> Iterator[Row]:
    """How far each block strays in bfloat16 from float32, beside how far the peer does."""
    given = inputs(cfg, grid)
    exact = run_peer(build_peer(cfg), cfg, *given, [t])[t]
    theirs = run_peer(build_peer(cfg, torch.bfloat16), cfg, *given, [t])[t]
    ours = run_ours(cfg, *given, [t], jnp.bfloat16)[t]
    drift: Callable = lambda found, i: float(np.abs(found[i] - exact[i]).max() / np.abs(exact[i]).max())  # noqa: E731
    for i in range(len(exact)):
        array = f"block {i}" if i < cfg.num_layers else "flow"
        note = f"the peer's own drift is {drift(theirs, i):.1e}"
        yield compare("dit, bfloat16", array, f"{PEER}, float32", ours[i], exact[i], BFLOAT16, note)
