"""Run by itself, on eight simulated devices: prints by how much sharded results differ from whole ones, as JSON."""

import gc
import json
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny_stage2 as tiny
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax import LipSyncer
from lipforcing_jax.distill import critic, diffusion_forcing, student, train_state
from lipforcing_jax.distill.condition import Condition, predict_x0
from lipforcing_jax.distill.reward import sync_scores
from lipforcing_jax.distill.rollout import draw_noise
from lipforcing_jax.models.attention import attend
from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel import sharding
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.codec import WanCodec

BATCH = 4
tiny.CFG = replace(tiny.CFG, dim=48, num_heads=4)  # heads for four devices


def inputs():
    base, part = tiny.network()
    condition = tiny.condition(BATCH)
    shape = condition.masked_video.shape
    return base, part, condition, tiny.draw(5, *shape), tiny.draw(6, *shape)


def forward(base, part, condition, x, eps):
    """The teacher."""
    return predict_x0(base.join(part), x, jnp.linspace(0.2, 0.9, BATCH), condition)


def roll(base, part, condition, x, eps):
    """Chunk steps with their memory, and the gradient through them."""
    noise = draw_noise(jax.random.key(3), condition.masked_video, tiny.WINDOW.chunk, 2)
    made = tiny.roll_out(base, part, condition, noise, 1)
    return made.x0, student.gradient(base, part, made, condition, x, tiny.WINDOW)


def criticise(base, part, condition, x, eps):
    found, gradients = critic.gradient(base, part, x, jnp.linspace(0.2, 0.9, BATCH), eps, condition)
    return found.loss, gradients


def judge(base, part, condition, x, eps):
    """The reward, every device for its own clips."""
    return sync_scores(*tiny.judge(), x, tiny.cepstra(BATCH))


def first_stage(base, part, condition, x, eps):
    """A whole update of stage 1, optimiser included."""
    masks = jnp.asarray(diffusion_forcing.window_masks(tiny.FRAMES, 3, ((7, 1), (9, 3))))

    def loss(part, batch, key):
        return diffusion_forcing.loss(
            base, part, x, condition, masks, key, chunk=3, t_list=tiny.T_LIST, remat=True
        )  # fmt: skip

    # Without Adam's quotient, which makes of a rounding error of a gradient near 0 a whole step.
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2, momentum=0.9))
    state = train_state.create(part, optimiser, averaged=False)
    state, metrics = train_state.step(
        state, jnp.zeros((2, BATCH)), jax.random.key(4), loss=loss, optimiser=optimiser, average_decay=None
    )  # fmt: skip
    return state, metrics["loss"]


def ring_full(base, part, condition, x, eps):
    """Attention and its gradients with six heads for eight devices, each with three tokens of a frame of eight."""
    return attention(None)


def ring_causal(base, part, condition, x, eps):
    """The same where a frame sees itself and earlier ones, and one sees none."""
    return attention(jnp.tril(jnp.ones((3, 3), bool)).at[1].set(False))


def by_head(base, part, condition, x, eps):
    """Attention for CPUs, every device for its own clips and heads."""
    q, k, v, pull = (tiny.draw(seed, 4, tokens, 4, 4) for seed, tokens in zip(range(4), (24, 48, 48, 24), strict=True))
    with mock.patch("lipforcing_jax.models.attention.AT_ONCE", 0):
        out, back = jax.vjp(lambda *given: attend(*given, jnp.tril(jnp.ones((3, 6), bool)), backend="by_head"), q, k, v)
    return out, back(pull)


def attention(mask):
    q, k, v, pull = (tiny.draw(seed, 2, tokens, 6, 4) for seed, tokens in zip(range(4), (24, 48, 48, 24), strict=True))
    out, gradients = jax.vjp(lambda *given: attend(*given, mask), q, k, v)
    return out, gradients(pull)


def see(base, part, condition, x, eps):
    """Two groups of pictures by Wan's encoder, one row of cells to a device, with what it remembers."""
    cfg, size = WanVAEConfig(dim=8, dim_mult=(1, 2, 2), num_res_blocks=1, time_downscale=(True, True)), 16
    codec = WanCodec(drawn_network(lambda: WanVAE(cfg, rngs=nnx.Rngs(0))))
    frames = jax.random.randint(jax.random.key(2), (1, 8, size, size, 3), 0, 256, jnp.uint8)
    mask = jnp.ones((size, size)).at[size // 2 :].set(0.0)
    return stream.look(codec, frames, mask, codec.encoder_memory(2, size), jnp.asarray(False))


JOBS = {"forward": forward, "rollout": roll, "critic": criticise, "reward": judge, "stage_1": first_stage,
        "ring_full": ring_full, "ring_causal": ring_causal, "by_head": by_head, "see": see}  # fmt: skip
MESHES = {
    "data=2,fsdp=2,tensor=2": ("forward", "reward", "stage_1", "by_head"),
    "fsdp=2,sequence=4": ("forward", "rollout", "stage_1"),
    "tensor=2,sequence=4": ("rollout", "critic", "ring_full"),  # four heads, eight devices: keys go round
    "data=2,tensor=4": ("see",),
    "sequence=8": ("ring_full", "ring_causal"),
}  # fmt: skip


SERVING = 4
"""Devices that serve one stream together."""


def serve(devices: int, chunks: int = 4):
    """Frames of a stream of nano's, how many programs each part of a step took, and how many slices there are."""
    syncer = LipSyncer.from_preset(devices=devices)
    # A function of its own: compiled programs of one function are shared, and so is their count.
    syncer._denoise = jax.jit(lambda *given: stream.denoise(*given), static_argnums=1)
    syncer._finish = jax.jit(lambda *given: stream.finish(*given), static_argnums=1)
    rng, state, drawing, frames = np.random.default_rng(0), None, None, []
    size, blank = syncer.preset.face_size, syncer.listener.blank()
    for _ in range(chunks):
        seen = rng.integers(0, 255, (1, stream.frames_per_chunk(syncer.preset), size, size, 3), dtype=np.uint8)
        chunk = stream.Chunk(seen, rng.normal(0, 0.1, blank.shape).astype(np.float32))
        state, sketch = syncer._denoised(state, chunk, jax.random.key(1))
        drawing, drawn = syncer._drawn(drawing, sketch)
        frames.append(drawn)
    kernel, cache = syncer.networks.dit.blocks.ffn_in.kernel[...], state.sampler.cache.k
    cut = [slices(x) for x in (kernel, cache, drawing.decoder[0])]
    return np.stack(frames), [part._cache_size() for part in (syncer._denoise, syncer._finish)], cut


def slices(x: jax.Array) -> int:
    """How many different slices of an array its devices hold."""
    return len({str(shard.index) for shard in x.addressable_shards})


def place(given, mesh):
    base, part, *arrays = given
    base = base._replace(frozen=jax.device_put(base.frozen, sharding.shardings(base.frozen, mesh)))
    places = sharding.batch_shardings(arrays, mesh)
    places[0] = Condition(*places[0][:-1], jax.NamedSharding(mesh, jax.P()))
    part = jax.device_put(part, sharding.shardings(part, mesh))
    return base, part, *jax.device_put(arrays, places)


def difference(x, y) -> float:
    """The largest of any array, each by its own scale."""
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: tiny.difference(a, b) if b.any() else abs(a).max(), x, y)))


def main() -> None:
    gc.disable()  # It ends soon, and makes many objects until then.
    given, found = inputs(), {}
    whole = {name: jax.device_get(jax.jit(job)(*given)) for name, job in JOBS.items()}
    for text, jobs in MESHES.items():
        mesh = meshes.make(meshes.parse(text))
        with jax.set_mesh(mesh):
            placed = place(given, mesh)
            for name in jobs:
                sharded = jax.jit(JOBS[name])(*placed)
                found[f"{name} on {text}"] = float(difference(jax.device_get(sharded), whole[name]))
    (alone, *_), (shared, programs, cut) = serve(1), serve(SERVING)
    served = {"difference": float(abs(alone - shared).max()), "programs": programs, "slices": cut}
    kernel = placed[0].frozen["blocks"]["ffn_in"]["kernel"][...]
    print(json.dumps({"differences": found, "slices": slices(kernel), "served": served}))


if __name__ == "__main__":
    main()
