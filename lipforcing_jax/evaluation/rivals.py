"""Ways of making an aligned clip speak, side by side: causal students, and the teacher in many steps.

All of them see and draw aligned pictures by the same autoencoder, give back the same detail and paste by the same mask,
so what differs between two results is what their diffusion networks made.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from lipforcing_jax.listening import Listener
from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask, soft_mask
from lipforcing_jax.models.audio import encode_clip
from lipforcing_jax.models.conditioning import condition_channels, group_audio
from lipforcing_jax.models.dit import DiT, KeyValues
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.tiny_vae import lead_in
from lipforcing_jax.report import prefetch
from lipforcing_jax.sampling import bidirectional, causal, steady_mouth, stream
from lipforcing_jax.sampling.bidirectional import Guidance, Prompt
from lipforcing_jax.sampling.plan import LEAD, plan
from lipforcing_jax.sampling.stream import Masks, Networks

Clip = UInt8[np.ndarray, "t s s 3"]
ROUNDS = 5
"""How often every rival is timed."""


class Rival(Protocol):
    """Makes a clip speak."""

    def __call__(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> Clip:
        """Aligned frames of `source` speaking 16 kHz samples of the same length."""

    def first_frames(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> None:
        """Works until the first frames exist, and no longer."""

    def look(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> "Seen":
        """What the diffusion network is told of a clip of 4 t - 3 frames."""

    def denoise(self, seen: "Seen") -> Float[Array, "1 t h w c"]:
        """The latents of the clip: the work of the diffusion network alone."""


def masks_of(preset: Preset) -> Masks:
    """Where the preset's pictures and latents are kept."""
    pixel, latent = pixel_mask(preset.face_size), latent_mask(preset.latent_size)
    return Masks(jnp.asarray(pixel, jnp.float32), jnp.asarray(latent, jnp.float32))


def pasted(source: Clip, drawn: Float[np.ndarray, "t s s 3"]) -> Clip:
    """The source with the drawn mouth (in [0, 1]) in it."""
    return np.asarray(_pasted(source, drawn, soft_mask(source.shape[1])[None, :, :, None]))


@jax.jit
def _pasted(source, drawn, soft) -> UInt8[Array, "t s s 3"]:
    return jnp.round(source * soft + 255 * drawn * (1 - soft)).astype(jnp.uint8)


def chunks_of(preset: Preset, listener: Listener, frames: Clip, audio: Float32[np.ndarray, " n"]) -> stream.Chunk:
    """A clip as stacked chunks: the lead-in, padding by the last frame, and what each chunk hears."""
    cut = plan(len(frames), preset.window.chunk)
    per = stream.frames_per_chunk(preset)
    padded = np.concatenate([np.repeat(frames[:1], LEAD, 0), frames])
    padded = np.concatenate([padded, np.repeat(padded[-1:], cut.chunks * per - len(padded), 0)])
    heard = np.stack(list(listener.chunks(np.asarray(audio, np.float32), cut)))
    return stream.Chunk(jnp.asarray(padded.reshape(cut.chunks, 1, per, *frames.shape[1:])), jnp.asarray(heard))


class Student:
    """The causal student as a live stream runs it: a chunk is drawn while the next one is denoised."""

    def __init__(self, preset: Preset, networks: Networks, listener: Listener, seed: int = 0):
        self.preset, self.networks, self.listener, self.key = preset, networks, listener, jax.random.key(seed)
        self.masks, self.text = masks_of(preset), stream.constant_text(networks)
        self.denoise_chunk = jax.jit(stream.denoise, static_argnums=1)
        self.finish_chunk = jax.jit(stream.finish, static_argnums=1)

    def __call__(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> Clip:
        frames = self._drawn(chunks_of(self.preset, self.listener, source, audio))
        return pasted(source, frames.reshape(-1, *source.shape[1:])[LEAD : LEAD + len(source)])

    def first_frames(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> None:
        self._drawn(jax.tree.map(lambda x: x[:1], chunks_of(self.preset, self.listener, source, audio)))

    def look(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> "Seen":
        return look(self.networks, self.preset, self.masks, source[None], jnp.asarray(audio, jnp.float32)[None])

    def denoise(self, seen: "Seen") -> Float[Array, "1 t h w c"]:
        return denoise_chunks(self.networks.dit, self.preset, self.masks.latent, self.text, seen, self.key)

    def _sketches(self, chunks: stream.Chunk) -> Iterator[stream.Sketch]:
        state = stream.start(self.networks, self.preset)._replace(drawing=None)
        for k in range(len(chunks.frames)):
            chunk = jax.tree.map(lambda x, k=k: x[k], chunks)
            given = (self.networks, self.preset, self.masks, self.text, state, chunk, self.key)
            state, sketch = self.denoise_chunk(*given)
            yield jax.block_until_ready(sketch)

    def _drawn(self, chunks: stream.Chunk) -> np.ndarray:
        drawing, frames = stream.start(self.networks, self.preset).drawing, []
        for sketch in prefetch(self._sketches(chunks), 2):
            drawing, drawn = self.finish_chunk(self.networks, self.preset, drawing, sketch)
            frames.append(np.asarray(drawn))
        return np.stack(frames)


class Seen(NamedTuple):
    """A whole clip as the bidirectional network is told of it."""

    condition: Float[Array, "1 t h w y"]
    prompt: Prompt
    latents: Float[Array, "1 t h w c"]
    """Of the source."""
    masked: Float[Array, "1 t h w c"]
    """Of the source with the mouth greyed out."""


@partial(jax.jit, static_argnames="preset")
def look(
    networks: Networks, preset: Preset, masks: Masks, frames: UInt8[Array, "1 t s s 3"], audio: Float[Array, "1 n"]
) -> Seen:
    """A source of 4 t - 3 frames and its sound, as the bidirectional network is told of them."""
    memory = networks.codec.encoder_memory(2, preset.face_size)
    led = lead_in(frames.astype(jnp.float32)).astype(jnp.uint8)
    seen, masked, _ = stream.look(networks.codec, led, masks.pixel, memory, jnp.asarray(True))
    text = networks.dit.text_keys(networks.text)
    negative = networks.dit.text_keys(jnp.zeros_like(networks.text))
    heard = group_audio(encode_clip(networks.ear, audio))
    condition = condition_channels(seen[:, :1], masks.latent, masked, shown(preset, seen))
    return Seen(condition, Prompt(text, negative, heard), seen, masked)


def shown(preset: Preset, latents: Float[Array, "1 t h w c"]) -> Float[Array, "1 t h w c"]:
    """The source's latents as the preset's networks are shown them."""
    return steady_mouth.hold(latents, preset.window.chunk) if preset.steady_mouth else latents


@partial(jax.jit, static_argnames=("guidance", "schedule"))
def denoise(
    networks: Networks, seen: Seen, key: Array, guidance: Guidance, schedule: tuple[float, ...]
) -> Float[Array, "1 t h w c"]:
    """The clip that the bidirectional network makes of noise."""
    noise = jax.random.normal(key, seen.latents.shape)
    return bidirectional.sample(networks.dit, noise, seen.condition, seen.prompt, guidance, np.asarray(schedule))[0]


@partial(jax.jit, static_argnames="preset")
def denoise_chunks(
    model: DiT, preset: Preset, mask: Float[Array, "h w"], text: KeyValues, seen: Seen, key: Array
) -> Float[Array, "1 t h w c"]:
    """The clip that the causal network makes of noise, as `stream.run` makes it; t must be a multiple of the chunk."""
    chunks = seen.latents.shape[1] // preset.window.chunk

    def split(x):
        return x.reshape(x.shape[0], chunks, -1, *x.shape[2:]).swapaxes(0, 1)

    def advance(state, chunk):
        noise = causal.chunk_noise(key, state.chunk, chunk.masked_video.shape, len(preset.t_list) - 1)
        state, predictions = causal.step(model, text, preset.window, preset.t_list, mask, state, chunk, noise)
        return state, predictions[-1]

    first = jnp.repeat(seen.latents[None, :, :1], chunks, axis=0)
    source = shown(preset, seen.latents)
    told = causal.ChunkCondition(first, split(seen.masked), split(source), split(seen.prompt.audio))
    state = causal.start(model, preset.window, seen.latents.shape[0], *mask.shape)
    made = jax.lax.scan(advance, state, told)[1]
    return made.swapaxes(0, 1).reshape(seen.latents.shape)


@partial(jax.jit, static_argnames="preset")
def draw(
    networks: Networks, preset: Preset, seen: Seen, frames: UInt8[Array, "1 t s s 3"], made: Float[Array, "1 t h w c"]
) -> Float[Array, "1 t s s 3"]:
    """Pictures of latents, drawn as `stream.run` draws them; t must be a multiple of the chunk."""
    chunks = made.shape[1] // preset.window.chunk

    def split(x):
        return x.reshape(x.shape[0], chunks, -1, *x.shape[2:]).swapaxes(0, 1)

    led = lead_in(frames.astype(jnp.float32)).astype(jnp.uint8)
    sketches = stream.Sketch(split(made), split(seen.latents), split(led), jnp.arange(chunks) == 0)
    start = stream.start(networks, preset).drawing
    _, drawn = jax.lax.scan(lambda drawing, sketch: stream.finish(networks, preset, drawing, sketch), start, sketches)
    return drawn.swapaxes(0, 1).reshape(led.shape)[:, LEAD:]


class Teacher:
    """The bidirectional network, which denoises a whole clip at once; `networks.dit` is the teacher."""

    def __init__(
        self, preset: Preset, networks: Networks, guidance: Guidance = Guidance(), steps: int = 50, seed: int = 0  # noqa: B008
    ):  # fmt: skip
        self.preset, self.networks, self.key = preset, networks, jax.random.key(seed)
        self.guidance, self.schedule, self.masks = guidance, tuple(bidirectional.levels(steps)), masks_of(preset)

    def look(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> Seen:
        return look(self.networks, self.preset, self.masks, source[None], jnp.asarray(audio, jnp.float32)[None])

    def draw(self, seen: Seen, source: Clip, made: Float[Array, "1 t h w c"]) -> Clip:
        """The source with the mouth of these latents."""
        return pasted(source, np.asarray(draw(self.networks, self.preset, seen, source[None], made))[0])

    def __call__(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> Clip:
        seen = self.look(source, audio)
        return self.draw(seen, source, self.denoise(seen))

    def denoise(self, seen: Seen) -> Float[Array, "1 t h w c"]:
        return denoise(self.networks, seen, self.key, self.guidance, self.schedule)

    def first_frames(self, source: Clip, audio: Float32[np.ndarray, " n"]) -> None:
        """All of them come at once."""
        self(source, audio)


class Speed(NamedTuple):
    """Video frames a second for a whole clip, seconds until its first frames are there, and video frames a second of
    the diffusion network alone; medians of some rounds."""

    fps: float
    first_frames: float
    network_fps: float


def time_rivals(
    competing: Mapping[str, Rival], source: Clip, audio: Float32[np.ndarray, " n"], rounds: int = ROUNDS
) -> dict[str, Speed]:
    """Speed of rivals on one clip of 4 t - 3 frames, compiled beforehand.

    They take turns, so that a machine's better and worse minutes meet all of them alike.
    """
    works = {name: _works(rival, source, audio) for name, rival in competing.items()}
    for work in itertools.chain(*works.values()):
        work()
    laps = [{name: [seconds_of(work) for work in its] for name, its in works.items()} for _ in range(rounds)]
    taken = {name: np.median([lap[name] for lap in laps], axis=0).tolist() for name in works}
    return {n: Speed(len(source) / whole, first, len(source) / alone) for n, (whole, first, alone) in taken.items()}


def _works(rival: Rival, source: Clip, audio: Float32[np.ndarray, " n"]) -> tuple[Callable[[], object], ...]:
    """What is timed: a whole clip, its first frames, its diffusion network alone."""
    seen = rival.look(source, audio)
    return (
        lambda: rival(source, audio),
        lambda: rival.first_frames(source, audio),
        lambda: jax.block_until_ready(rival.denoise(seen)),
    )


def seconds_of(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
