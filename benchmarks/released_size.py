"""Speed of the student's stream on one accelerator, at any preset's size, with random weights.

    python benchmarks/released_size.py --preset 1.3b [--clips 5] [--frames 81] [--float32] [--teacher]

The protocol is the paper's (spec inference 7.3, "encode_to_decode"): clips of 81 frames at the preset's own size, one
after the other, weights and features of the sound resident; from the aligned frames on the host to the finished ones
there, chunk by chunk: Wan's encoder for the faces as they are and greyed, the student's network calls with its cache,
the tiny decoder. The first clip, which compiles, is not counted. Numbers do not depend on what the weights are.

With --teacher also what the student is compared with: 50 guided steps of the bidirectional network of the same size
over the whole clip, from the time of one step, without its autoencoder, which would only add to it.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lipforcing_jax.compiled_programs import keep_compiled_programs
from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask
from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.attention import best_backend
from lipforcing_jax.models.audio import LogMelEncoder
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import PRESETS, Preset
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.sampling import bidirectional, stream
from lipforcing_jax.sampling.codec import PairedCodec, TinyCodec, WanCodec
from lipforcing_jax.sampling.plan import LEAD, plan


def random_module(make, dtype=None) -> nnx.Module:
    """The module that `make` declares, at random, in `dtype` where it is given."""
    graphdef, state = nnx.split(nnx.eval_shape(make))
    made = []
    for i, (path, leaf) in enumerate(nnx.to_flat_state(state)):
        value = random_parameter(jax.random.key(i), path[-1], leaf.shape, dtype or leaf.dtype)
        made.append((path, leaf.replace(value)))
    return nnx.merge(graphdef, nnx.from_flat_state(made))


@partial(jax.jit, static_argnums=(1, 2, 3))
def random_parameter(key, name: str, shape: tuple[int, ...], dtype):
    """Ones that scale, zeros that shift, and matrices that keep the size of what they are given."""
    if name in ("scale", "gamma", "group_scale", "weight_g"):
        return jnp.ones(shape, dtype)
    if name == "bias" or len(shape) < 2:
        return jnp.zeros(shape, dtype)
    fan_in = np.prod(shape[:-1]) if len(shape) > 3 else shape[-2]
    return jax.random.normal(key, shape, dtype) * jnp.asarray(fan_in**-0.5, dtype)


def networks_of(preset: Preset, dtype) -> stream.Networks:
    """All that a stream runs, on the first device."""

    def made(module, cfg, **kinds):
        return random_module(lambda: module(cfg, dtype=dtype, rngs=nnx.Rngs(0), **kinds), dtype)

    codec = hand = TinyCodec(made(TinyVAE, preset.tiny_vae))
    if preset.wan_vae is not None:
        codec = PairedCodec(WanCodec(made(WanVAE, preset.wan_vae)), hand)
    ear = random_module(lambda: LogMelEncoder(preset.audio, rngs=nnx.Rngs(0))) if preset.hears_samples else None
    dit = made(DiT, preset.dit, attention=best_backend(jax.default_backend()))
    text = jax.random.normal(jax.random.key(1), (1, preset.dit.text_len, preset.dit.text_dim))
    return stream.Networks(dit, codec, ear, text)


def chunks_of(preset: Preset, frames: int):
    """Random faces, and the sound of each chunk."""
    draw, per = np.random.default_rng(0), stream.frames_per_chunk(preset)
    if preset.hears_samples:
        sound = lambda: draw.uniform(-0.1, 0.1, (1, sum(stream.audio_window(preset)))).astype(np.float32)  # noqa: E731
    else:
        sound = lambda: draw.standard_normal((1, per, preset.audio.features)).astype(np.float32)  # noqa: E731
    size = (1, per, preset.face_size, preset.face_size, 3)
    count = plan(frames, preset.window.chunk).chunks
    return [stream.Chunk(draw.integers(0, 256, size, dtype=np.uint8), sound()) for _ in range(count)]


def clip(step, start, chunks, key) -> tuple[list[float], np.ndarray]:
    """Seconds from the first chunk's arrival to each chunk's pictures on the host, and the last of these."""
    seconds, state, begin = [], start(), time.perf_counter()
    for chunk in chunks:
        state, drawn = step(state, chunk, key)
        drawn = np.asarray(drawn)
        seconds.append(time.perf_counter() - begin)
    return seconds, drawn


def hearing_seconds(preset: Preset, frames: int) -> float:
    """What the features of such a clip's sound cost before the first chunk."""
    ear = random_module(lambda: Wav2Vec2(preset.audio, rngs=nnx.Rngs(0)))
    hear = jax.jit(wav2vec2.encode, static_argnums=2)
    wave = np.random.default_rng(0).normal(0, 0.1, frames * preset.audio.samples_per_frame).astype(np.float32)
    for _ in range(2):
        begin = time.perf_counter()
        np.asarray(hear(ear, wave, frames))
    return time.perf_counter() - begin


def teacher_seconds(preset: Preset, networks: stream.Networks, frames: int, steps: int = 50) -> float:
    """What the teacher's network calls for a clip cost: text and sound, and neither, at every step."""
    cells, cfg = preset.latent_size, preset.dit
    length = plan(frames, preset.window.chunk).latent_frames
    some = lambda i, *shape: jax.random.normal(jax.random.key(i), (1, length, *shape))  # noqa: E731
    clip = some(0, cells, cells, cfg.latent_channels)
    condition = some(1, cells, cells, cfg.in_dim - cfg.latent_channels)
    sound = some(2, 4 * cfg.audio_dim)

    def flow(dit, text, x, t):
        prompt = bidirectional.Prompt(dit.text_keys(text), dit.text_keys(-text), sound)
        return bidirectional.guided_flow(dit, x, condition, t, prompt, bidirectional.Guidance())

    flow, level, seconds = jax.jit(flow), jnp.full((1, 1), 0.9), []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(flow(networks.dit, networks.text, clip, level))
        seconds.append(time.perf_counter() - begin)
    return steps * min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1.3b", choices=PRESETS)
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--float32", action="store_true", help="compute in float32 instead of bfloat16")
    parser.add_argument("--teacher", action="store_true", help="also time the teacher of this size")
    options = parser.parse_args()
    keep_compiled_programs()
    preset = PRESETS[options.preset]
    networks = networks_of(preset, jnp.dtype(jnp.float32 if options.float32 else jnp.bfloat16))
    cells = preset.latent_size
    masks = stream.Masks(*(jnp.asarray(m, jnp.float32) for m in (pixel_mask(preset.face_size), latent_mask(cells))))
    text = jax.jit(stream.constant_text)(networks)
    begin_state = jax.jit(stream.start, static_argnums=1)
    compiled = jax.jit(stream.step, static_argnums=1, donate_argnums=4)
    step = lambda state, chunk, key: compiled(networks, preset, masks, text, state, chunk, key)  # noqa: E731
    start = lambda: jax.block_until_ready(begin_state(networks, preset))  # noqa: E731
    chunks, key = chunks_of(preset, options.frames), jax.random.key(0)
    begin = time.perf_counter()
    clip(step, start, chunks, key)
    compiling = time.perf_counter() - begin
    runs = [clip(step, start, chunks, key) for _ in range(options.clips)]
    assert all(np.isfinite(drawn).all() for _, drawn in runs)
    spans = np.array([seconds for seconds, _ in runs])
    per_chunk = np.diff(spans, axis=1, prepend=0)[:, 3:] * 1000
    heard = 0.0 if preset.hears_samples else hearing_seconds(preset, options.frames)
    memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
    shown = stream.frames_per_chunk(preset) - LEAD
    print("| preset | device | kind | frames/s | first frames after (s) | steady ms a chunk, p50 / p95 "
          "| sound, before (s) | memory, peak (GiB) | first clip (s) |")  # fmt: skip
    print("|" + "---|" * 9)
    print(f"| {preset.name} | {jax.local_devices()[0].device_kind} | {'float32' if options.float32 else 'bfloat16'} | "
          f"{options.frames / spans[:, -1].mean():.1f} | {spans[:, 0].mean():.3f} ({shown} frames) | "
          f"{np.percentile(per_chunk, 50):.0f} / {np.percentile(per_chunk, 95):.0f} | {heard:.3f} | {memory:.1f} | "
          f"{compiling:.0f} |", flush=True)  # fmt: skip
    if options.teacher:
        seconds, mine = teacher_seconds(preset, networks, options.frames), spans[:, -1].mean()
        print(f"teacher's 50 guided steps: {seconds:.2f} s, {options.frames / seconds:.2f} frames/s; "
              f"the student is {seconds / mine:.1f} times as fast")  # fmt: skip


if __name__ == "__main__":
    main()
