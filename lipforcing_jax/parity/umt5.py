"""The text encoder beside transformers' `UMT5EncoderModel`."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from flax import nnx

from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import UMT5Encoder
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import umt5_names
from lipforcing_jax.weights.recipe import component_weight, generator

PEER = "transformers"
SMALL = UMT5Config(vocab=300, dim=96, ffn_dim=160, num_heads=4, head_dim=16, num_layers=4)
WIDE = UMT5Config(vocab=512, num_layers=1)
"""One layer of XXL. Its table of tokens is only looked up, so a short one does."""
FLOAT32 = 2e-5
"""Attention has no scaling, so its logits are large; measured 8e-6 after four layers."""
BFLOAT16 = 1.5e-1
"""Of the largest value; large logits are rounded coarsely, and the peer's own bfloat16 run is off by 9e-2."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """A narrow encoder in float32 and in bfloat16; with `full_width` also one layer of XXL."""
    yield from compare_network("umt5", SMALL, length=200)
    yield from bfloat16_drift(SMALL, length=24)
    if full_width:
        yield from compare_network("umt5, XXL width, 1 layer", WIDE, length=64)


def inputs(cfg: UMT5Config, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of two prompts, the second one much shorter, and where they are."""
    ids = generator("input:parity.ids").integers(2, cfg.vocab, (2, length))
    return ids, np.arange(length) < np.array([[length], [length // 4]])


def recipe(cfg: UMT5Config):
    """The recipe's weights by the Wan file's names."""
    shapes = umt5_names.manifest(cfg)
    return lambda name: component_weight(name, shapes[name])


def run_peer(cfg: UMT5Config, ids: np.ndarray, mask: np.ndarray, dtype=torch.float32) -> list[np.ndarray]:
    """States after every layer but the last, and the output, each [b, n, d]."""
    with torch.device("meta"):
        model = transformers.UMT5EncoderModel(transformers.UMT5Config(
            vocab_size=cfg.vocab, d_model=cfg.dim, d_kv=cfg.head_dim, d_ff=cfg.ffn_dim, num_layers=cfg.num_layers,
            num_heads=cfg.num_heads, relative_attention_num_buckets=cfg.num_buckets,
            relative_attention_max_distance=cfg.max_distance, feed_forward_proj="gated-gelu",
        ))  # fmt: skip
    tensors = {name: recipe(cfg)(umt5_names.native_name(name)) for name in model.state_dict()}
    model.load_state_dict({name: torch.from_numpy(value).to(dtype) for name, value in tensors.items()}, assign=True)
    with torch.no_grad():
        call = {"attention_mask": torch.from_numpy(mask.astype(np.int64)), "output_hidden_states": True}
        states = model.eval()(torch.from_numpy(ids), **call).hidden_states
    return [state.float().numpy() for state in states[1:]]


def run_ours(cfg: UMT5Config, ids: np.ndarray, mask: np.ndarray, dtype=jnp.float32) -> list[np.ndarray]:
    """The same from our network."""
    state = umt5_names.from_reference(recipe(cfg), cfg)
    state = jax.tree.map(lambda value: jnp.asarray(value, dtype), state)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: UMT5Encoder(cfg, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0))))

    @jax.jit
    def run(state):
        model = nnx.merge(graphdef, state)
        states = model.states(ids, mask)
        return [*states[:-1], model.norm(states[-1])]

    return [np.asarray(value, np.float32) for value in run(state)]


def named(cfg: UMT5Config) -> list[str]:
    """What the arrays of one run are."""
    return [f"layer {i}" for i in range(cfg.num_layers - 1)] + ["output"]


def compare_network(name: str, cfg: UMT5Config, length: int) -> Iterator[Row]:
    """First layers and output in float32, padding included."""
    given = inputs(cfg, length)
    for array, ours, theirs in zip(named(cfg), run_ours(cfg, *given), run_peer(cfg, *given), strict=True):
        yield compare(name, array, PEER, ours, theirs, FLOAT32)


def bfloat16_drift(cfg: UMT5Config, length: int) -> Iterator[Row]:
    """How far each layer strays in bfloat16 from float32, beside how far the peer does."""
    given = inputs(cfg, length)
    exact, theirs = run_peer(cfg, *given), run_peer(cfg, *given, torch.bfloat16)
    ours = run_ours(cfg, *given, jnp.bfloat16)
    for i, array in enumerate(named(cfg)):
        drift = np.abs(theirs[i] - exact[i]).max() / np.abs(exact[i]).max()
        note = f"the peer's own drift is {drift:.1e}"
        yield compare("umt5, bfloat16", array, f"{PEER}, float32", ours[i], exact[i], BFLOAT16, note)
