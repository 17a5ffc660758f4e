"""A stage 2 small enough to differentiate whole: three chunks of 2x2 patches, pairs of rank 2 on one base."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lipforcing_jax.distill import base as shared
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.rollout import Rollout, rollout
from lipforcing_jax.distill.self_forcing import Judge
from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import LoRAConfig, SyncNetConfig, TinyVAEConfig, WindowConfig
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE

CFG = replace(
    presets.by_name("nano").dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4, freq_dim=16, audio_dim=4,
    audio_hidden=8, text_dim=8, text_len=3, latent_channels=4, in_dim=17, patch=(1, 2, 2), residual=False,
)  # fmt: skip
WINDOW = WindowConfig(chunk=3, window=7, sink=1)
T_LIST = (0.999, 0.769, 0.0)
FRAMES, CHUNKS, CELLS = 9, 3, 4


def network(trained=shared.LOW_RANK, dtype=jnp.float32) -> tuple[shared.Base, nnx.State]:
    """Base and trained part; no bias and no pair is zero."""
    model = nnx.eval_shape(lambda: DiT(CFG, lora=LoRAConfig(2, 1.0), rngs=nnx.Rngs(0)))
    base, part = shared.split(model, trained)
    return base._replace(frozen=filled(base.frozen, 0, dtype)), filled(part, 1, dtype)


def filled(part: nnx.State, seed: int, dtype=jnp.float32) -> nnx.State:
    """Parameters of the given shapes; those of norms are about 1."""
    rng = np.random.default_rng(seed)
    flat = dict(nnx.to_flat_state(part))
    for path, leaf in flat.items():
        value = 0.2 * rng.standard_normal(leaf.shape)
        value = np.abs(1 + value) if path[-1] in ("scale", "variance") else value
        flat[path] = leaf.replace(jnp.asarray(value, dtype))
    return nnx.from_flat_state(flat)


def judge() -> Judge:
    """Pictures of 16 pixels, and a SyncNet whose widest map has 8 channels."""
    kinds = {"patch_size": 4, "latent_channels": 4, "encoder_blocks": 0, "decoder_blocks": 1}
    widths = {"encoder_stem": 8, "encoder_widths": (8, 8), "decoder_widths": (8, 8), "decoder_tail": 8}
    time = {"encoder_time_downscale": (True, True), "decoder_time_upscale": (True, True)}
    space = {"encoder_space_downscale": (False, False), "decoder_space_upscale": (False, False)}
    vae = TinyVAEConfig(**kinds, **widths, **time, **space)
    net = SyncNetConfig((4, 4, 4, 4, 4, 8), (4, 4, 4, 4, 4, 8), hidden=8, embedding=16, face_size=96)
    parts = (lambda: TinyVAE(vae, rngs=nnx.Rngs(0))), (lambda: SyncNet(net, rngs=nnx.Rngs(0)))
    return Judge(*(nnx.merge(g, filled(p, 4)) for g, p in (nnx.split(nnx.eval_shape(part)) for part in parts)))


def cepstra(batch: int = 2):
    """Rows of MFCC for 4 FRAMES - 3 video frames."""
    return draw(16, batch, 4 * (4 * FRAMES - 3), 13)


def draw(seed: int, *shape: int, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def condition(batch: int = 2, dtype=jnp.float32) -> Condition:
    latent = (CELLS, CELLS, CFG.latent_channels)
    return Condition(
        text=draw(11, batch, CFG.text_len, CFG.text_dim, dtype=dtype),
        audio=draw(12, batch, FRAMES, 4 * CFG.audio_dim, dtype=dtype),
        ref_latent=draw(13, batch, 1, *latent, dtype=dtype),
        masked_video=draw(14, batch, FRAMES, *latent, dtype=dtype),
        ref_sequence=draw(15, batch, FRAMES, *latent, dtype=dtype),
        mask=jnp.ones((CELLS, CELLS), dtype).at[2:].set(0),
    )


@partial(jax.jit, static_argnames="exit_step")
def roll_out(base: shared.Base, part: nnx.State, condition: Condition, noise, exit_step: int) -> Rollout:
    return rollout(base.join(part), condition, noise, window=WINDOW, t_list=T_LIST, exit_step=exit_step)


def largest(tree) -> float:
    return max(float(np.abs(a).max()) for a in jax.tree.leaves(jax.device_get(tree)))


def difference(x, y) -> float:
    """Largest difference over the largest value of two pytrees; on the host, where no shape needs a program."""
    x, y = jax.device_get((x, y))
    return largest(jax.tree.map(np.subtract, x, y)) / largest(y)
