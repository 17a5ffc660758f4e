"""The programs of serving and of the teacher's sampler, with the shapes and places of what they are given.

A stream's chunk goes through three programs: "see" makes latents of the pictures as they are and greyed, "chunk" is the
student's step, "draw" makes pictures of its result. "hear" makes the features of a whole clip's sound, once. The
student is cut along widths, and the pictures of "see" and "draw" by rows; "hear" does the same on every chip.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.dit import KeyValues
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.options import FPS
from lipforcing_jax.planning.programs import Job, Placing, Program, abstract_dit, numbers
from lipforcing_jax.sampling import bidirectional, causal, placement, stream
from lipforcing_jax.sampling.codec import TinyCodec, WanCodec

CLIP = 81
"""Video frames of the clip whose sound is heard before the first chunk: those of the paper's clips."""


def serving(preset: Preset, streams: int, mesh: Mesh, platform: str = "tpu") -> Job:
    """One chunk of `streams` clips at once, and what comes before and after the student's part of it."""
    place = Placing(mesh, "serve")
    see, draw = codec_steps(preset, streams, place)
    programs = [see, student_step(preset, streams, place, platform), draw]
    if not preset.hears_samples:
        programs.insert(0, hearing(preset, place))
    return Job(programs, [program.args for program in programs])


def student_step(preset: Preset, streams: int, place: Placing, platform: str) -> Program:
    """The student's part of a stream's step in the middle of a clip."""
    model = place.parameters(abstract_dit(preset, jnp.bfloat16, platform), jnp.bfloat16)
    window, cfg, cells = preset.window, preset.dit, preset.latent_size
    state = jax.eval_shape(lambda m: causal.start(m, window, streams, cells, cells), model)
    state = placement.of_sampler(state, place.along)
    text = jax.eval_shape(lambda m, t: m.text_keys(t), model, numbers(streams, cfg.text_len, cfg.text_dim))
    text = placement.by_heads(text, place.along)
    latents = numbers(streams, window.chunk, cells, cells, cfg.latent_channels)
    chunk = causal.ChunkCondition(
        numbers(streams, 1, cells, cells, cfg.latent_channels), latents, latents,
        numbers(streams, window.chunk, 4 * cfg.audio_dim),
    )  # fmt: skip
    noise = place.samples(numbers(len(preset.t_list) - 1, *latents.shape), axis=1)
    mask = place.whole(numbers(cells, cells))

    def step(model, text, mask, state, chunk, noise):
        state, predictions = causal.step(model, text, window, preset.t_list, mask, state, chunk, noise)
        return placement.of_sampler(state), predictions

    return Program(
        "chunk", jax.jit(step, donate_argnums=3), (model, KeyValues(*text), mask, state, place.samples(chunk), noise),
        {}, seconds_of_video=streams * stream.frames_per_chunk(preset) / FPS,
    )  # fmt: skip


def codec_steps(preset: Preset, streams: int, place: Placing) -> tuple[Program, Program]:
    """What sees a chunk's pictures and what draws them: Wan's encoder and the tiny decoder, or the tiny one both."""
    tiny = nnx.eval_shape(lambda: TinyVAE(preset.tiny_vae, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    hand = eye = TinyCodec(place.whole(tiny, jnp.bfloat16))
    if preset.wan_vae is not None:
        wan = nnx.eval_shape(lambda: WanVAE(preset.wan_vae, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
        eye = WanCodec(place.whole(wan, jnp.bfloat16))
    size, cells = preset.face_size, preset.latent_size
    drawn = streams * (2 if preset.keep_detail else 1)
    sees = placement.by_rows(jax.eval_shape(lambda c: c.encoder_memory(2 * streams, size), eye), place.along)
    draws = placement.by_rows(jax.eval_shape(lambda c: c.decoder_memory(drawn, cells), hand), place.along)
    frames = place.samples(numbers(streams, stream.frames_per_chunk(preset), size, size, 3, dtype=jnp.uint8))
    latents = place.samples(numbers(drawn, preset.window.chunk, cells, cells, preset.dit.latent_channels))
    mask, first = place.whole((numbers(size, size), numbers(dtype=jnp.bool_)))
    copies = undivided(place.mesh, cells)
    return (
        Program("see", jax.jit(stream.look, donate_argnums=3), (eye, frames, mask, sees, first), {}, copies=copies),
        Program("draw", jax.jit(stream.draw, donate_argnums=2), (hand, latents, draws, first), {}, copies=copies),
    )


def hearing(preset: Preset, place: Placing) -> Program:
    """Features of one clip's sound."""
    ear = place.whole(nnx.eval_shape(lambda: Wav2Vec2(preset.audio, rngs=nnx.Rngs(0))))
    wave = place.whole(numbers(CLIP * preset.audio.samples_per_frame))
    hear = lambda ear, wave: wav2vec2.encode(ear, wave, CLIP)  # noqa: E731
    return Program("hear", jax.jit(hear), (ear, wave), {}, copies=place.mesh.size)


def undivided(mesh: Mesh, rows: int) -> int:
    """Chips that do the same: those along axes that cut neither the batch nor pictures of so many rows of cells."""
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    return mesh.size // (shares * (mesh.shape["tensor"] if rows % mesh.shape["tensor"] == 0 else 1))


def sampler(preset: Preset, clips: int, frames: int, mesh: Mesh, platform: str = "tpu") -> Job:
    """The teacher's sampler of 50 guided steps over whole clips of `frames` latent frames."""
    place, cfg = Placing(mesh, "train"), preset.dit
    model = place.parameters(abstract_dit(preset, jnp.bfloat16, platform), jnp.bfloat16)
    latents = numbers(clips, frames, preset.latent_size, preset.latent_size, cfg.latent_channels)
    condition = numbers(*latents.shape[:-1], cfg.in_dim - cfg.latent_channels)
    text = numbers(clips, cfg.text_len, cfg.text_dim)
    audio = numbers(clips, frames, 4 * cfg.audio_dim)

    def draw(model, noise, condition, text, negative_text, audio):
        prompt = bidirectional.Prompt(model.text_keys(text), model.text_keys(negative_text), audio)
        return bidirectional.sample(model, noise, condition, prompt)[0]

    args = (model, *place.samples((latents, condition, text, text, audio)))
    return Job([Program("50 steps", jax.jit(draw), args, {}, clips * (4 * frames - 3) / FPS)], model)
