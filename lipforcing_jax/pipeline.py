"""LipSyncer: a video and a sound in, the video speaking that sound out. The only place where media meets models.

Frames flow through four stages, each on a thread of its own, with short queues between them: reading, tracking and
cropping; denoising, one chunk at a time; drawing its pictures; pasting and encoding. Memory does not grow with the
clip.
"""

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, UInt8

from lipforcing_jax import clips
from lipforcing_jax.errors import UserError
from lipforcing_jax.listening import Listener, listener_for
from lipforcing_jax.media import alignment, compositing, tracking
from lipforcing_jax.media.faces import FaceDetector, create_detector
from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.options import FPS, SAMPLE_RATE, Options
from lipforcing_jax.parallel import sharding
from lipforcing_jax.report import Timings, prefetch
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.plan import LEAD, Plan, plan, reference_plan
from lipforcing_jax.weights import networks as weight_files

Frame = UInt8[np.ndarray, "h w 3"]


@dataclass
class AlignedChunk:
    """One chunk between the stages. `crops` always has a chunk's full length; `frames` are the real ones."""

    index: int
    frames: list[Frame]
    faces: list[tracking.TrackedFace]
    crops: UInt8[np.ndarray, "t s s 3"]
    offset: int
    has_face: bool
    ready: float = 0.0


@dataclass
class FrameBatch:
    """Finished frames of one chunk, with what they were made of."""

    index: int
    frames: list[Frame]
    source: list[Frame]
    aligned: list[UInt8[np.ndarray, "s s 3"]]
    counts: dict[str, int] = field(default_factory=dict)


class LipSyncer:
    """A preset's networks, compiled once and used for any number of clips."""

    def __init__(
        self,
        preset: Preset,
        networks: stream.Networks,
        listener: Listener,
        detector: FaceDetector | None = None,
        weights: Sequence[Path] = (),
        mesh: Mesh | None = None,
    ):
        """`weights` are the files that the networks came from; a run's record names them by their hash. `mesh` is that
        over which the networks lie, if any."""
        self.preset, self.networks, self.listener, self.detector = preset, networks, listener, detector
        self.weights, self.mesh = list(weights), mesh
        size, cells = preset.face_size, preset.latent_size
        self.masks = stream.Masks(
            jnp.asarray(pixel_mask(size), jnp.float32), jnp.asarray(latent_mask(cells), jnp.float32)
        )
        with sharding.current(mesh):
            self.text = jax.jit(stream.constant_text)(networks)
        self._start = jax.jit(stream.start, static_argnums=1)
        self._denoise = jax.jit(stream.denoise, static_argnums=1)
        # What drawing remembers is large and passes from chunk to chunk, so each takes over the memory of the last.
        self._finish = jax.jit(stream.finish, static_argnums=1, donate_argnums=2)
        self.compile_seconds: float | None = None

    @classmethod
    def from_preset(
        cls, name: str = "nano", weights: str | Path | None = None, decoder: str | None = None, devices: int = 1
    ) -> "LipSyncer":
        """The preset called `name` with its bundled weights, or with those in the folder `weights`.

        Args:
          decoder: "taehv" or "wan", what draws the pictures of a converted preset; None takes the first that is there.
          devices: among how many of this process's devices the student is cut, by its heads.

        Raises:
          UserError: unknown preset or decoder; weights missing, damaged or of another size; fewer devices, or so many
            do not divide the heads.
        """
        folder = None if weights is None else Path(weights)
        loaded = weight_files.load(weight_files.find(name), folder, decoder, devices)
        listener = listener_for(loaded.preset, loaded.wav2vec2)
        return cls(loaded.preset, loaded.networks, listener, weights=loaded.files, mesh=loaded.mesh)

    def warm_up(self) -> float:
        """Compiles a step (or loads it from the cache) and returns the seconds it took; 0 when done before."""
        if self.compile_seconds is not None:
            return 0.0
        begin = time.perf_counter()
        size, per = self.preset.face_size, stream.frames_per_chunk(self.preset)
        blank = stream.Chunk(np.zeros((1, per, size, size, 3), np.uint8), self.listener.blank())
        _, sketch = self._denoised(None, blank, jax.random.key(0))
        self._drawn(None, sketch)
        self.compile_seconds = time.perf_counter() - begin
        return self.compile_seconds

    def _denoised(self, state: stream.StreamState | None, chunk: stream.Chunk, key):
        """The stream's state after a chunk, and the chunk's sketch; of a new stream if there is no state.

        Raises:
          UserError: the devices have no room for it.
        """
        with self._on_devices():
            state = self._start(self.networks, self.preset)._replace(drawing=None) if state is None else state
            state, sketch = self._denoise(self.networks, self.preset, self.masks, self.text, state, chunk, key)
            return state, jax.block_until_ready(sketch)

    def _drawn(self, drawing: stream.Drawing | None, sketch: stream.Sketch):
        """What drawing remembers after a sketch, and its frames; of a new stream if it remembers nothing yet.

        Raises:
          UserError: the devices have no room for it.
        """
        with self._on_devices():
            drawing = self._start(self.networks, self.preset).drawing if drawing is None else drawing
            drawing, frames = self._finish(self.networks, self.preset, drawing, sketch)
            return drawing, np.asarray(frames)[0]

    @contextlib.contextmanager
    def _on_devices(self):
        try:
            with sharding.current(self.mesh):
                yield
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"There is no room for a stream of {self.preset.name} on these devices; cut the student among more of "
                "them by --devices N, or choose a smaller preset."
            ) from error

    def plan(self, samples: int, options: Options = Options()) -> Plan:  # noqa: B008 - frozen
        """Frames and chunks for so many samples of sound at 16 kHz.

        Raises:
          UserError: the sound is shorter than one video frame.
        """
        frames = (samples * FPS + 8) // SAMPLE_RATE
        if frames < 1:
            raise UserError(f"The audio lasts only {samples / SAMPLE_RATE:.3f} s; at least 0.04 s are needed.")
        make = reference_plan if options.reference_length else plan
        return make(frames, self.preset.window.chunk)

    def stream(
        self,
        frames: Iterable[Frame],
        audio: Float32[np.ndarray, " n"],
        options: Options = Options(),  # noqa: B008 - frozen
        timings: Timings | None = None,
    ) -> Iterator[FrameBatch]:
        """Finished frames, chunk by chunk, as source frames come in.

        Args:
          frames: the speaker at 25 frames a second; ends the clip when it ends before the sound does.
          audio: the whole sound, mono at 16 kHz in [-1, 1].

        Raises:
          UserError: no face in any frame, or no face of that index.
        """
        timings = timings or Timings()
        cut = self.plan(len(audio), options)
        detector = self.detector or create_detector(options.detector)
        aligned = self._align(itertools.islice(iter(frames), cut.frames), detector, options, timings)
        heard = self.listener.chunks(np.asarray(audio, np.float32), cut)
        sketched = self._sketch(prefetch(aligned, 2), heard, options, timings)
        # Programs of several devices wait for each other inside, so they must start in one order: on one thread.
        pictures = self._draw(prefetch(sketched, 2) if self.mesh is None else sketched, timings)
        for chunk, drawn in prefetch(pictures, 2):
            batch = self._paste(chunk, drawn, options, timings)
            timings.first_frame(chunk.ready)  # before whoever asked takes time of its own with them
            yield batch

    def _align(self, frames, detector, options: Options, timings: Timings) -> Iterator[AlignedChunk]:
        """Stage 1: chunks of tracked and cropped frames. The first one leaves room for the lead-in."""
        per, size = stream.frames_per_chunk(self.preset), self.preset.face_size
        config = tracking.TrackingConfig(face_index=options.face, method=_tracking_method(options.detector))
        state, last = tracking.TrackingState(), None
        for index in itertools.count():
            offset = LEAD if index == 0 else 0
            kept, faces, crops = [], [], []
            while len(kept) < per - offset:
                with timings.stage("read"):
                    frame = next(frames, None)
                if frame is None:
                    break
                _check_frame(frame)
                with timings.stage("track"):
                    face, state = tracking.track(frame, state, detector, config)
                    if face.matrix is not None and face.status != "missing":
                        last = alignment.align_face(frame, face.matrix, size)
                kept.append(frame)
                faces.append(face)
                crops.append(last)
            if kept:
                yield _chunk_of(index, kept, faces, crops, offset, per, size)
            if len(kept) < per - offset:
                break
        if state.faces_seen == 0:
            raise UserError(_no_face(options, state))

    def _sketch(self, chunks, heard: Iterator[np.ndarray], options: Options, timings: Timings):
        """Stage 2: the networks up to the latents. Chunks before the first face pass without starting the stream."""
        state, key = None, jax.random.key(options.seed)
        for chunk in chunks:
            chunk.ready = time.perf_counter()
            with timings.stage("hear"):
                sound = next(heard)
            if state is None and not chunk.has_face:
                yield chunk, None
                continue
            with timings.stage("denoise"):
                state, sketch = self._denoised(state, stream.Chunk(chunk.crops[None], sound), key)
            yield chunk, sketch

    def _draw(self, sketches, timings: Timings):
        """Stage 3: pictures of the latents."""
        drawing = None
        for chunk, sketch in sketches:
            if sketch is None:
                yield chunk, None
                continue
            with timings.stage("draw"):
                drawing, drawn = self._drawn(drawing, sketch)
            yield chunk, drawn

    def _paste(self, chunk: AlignedChunk, drawn, options: Options, timings: Timings) -> FrameBatch:
        """Stage 4: the generated mouth into every frame that has a face."""
        batch = FrameBatch(chunk.index, [], chunk.frames, [], {"detected": 0, "bridged": 0, "missing": 0})
        mode = "full" if options.full_face else "mouth"
        with timings.stage("paste"):
            for i, (frame, face) in enumerate(zip(chunk.frames, chunk.faces, strict=True)):
                batch.counts[face.status] += 1
                crop = chunk.crops[chunk.offset + i]
                if drawn is None or face.status == "missing":
                    batch.frames.append(frame)
                    batch.aligned.append(crop)
                    continue
                picture = drawn[chunk.offset + i]
                batch.frames.append(compositing.paste_face(frame, picture, face.matrix, mode, crop))
                batch.aligned.append(np.round(255 * picture).astype(np.uint8))
        return batch

    def sync(self, video, audio, out: str | Path | None = None, options: Options = Options(), **settings):  # noqa: B008
        """The whole clip; files or arrays. See `lipforcing_jax.clips.sync`, which takes the same arguments."""
        return clips.sync(self, video, audio, out, options, **settings)


def _tracking_method(detector: str) -> str:
    """The reference detects every frame; the embedded detector is followed by optical flow."""
    return "every_frame" if detector == "insightface" else "flow"


def _chunk_of(index, kept, faces, crops, offset: int, per: int, size: int) -> AlignedChunk:
    """Fills a chunk: crops before the first face repeat it, crops after the end repeat the last."""
    known = [c for c in crops if c is not None]
    first = known[0] if known else np.full((size, size, 3), 128, np.uint8)
    crops = [first if c is None else c for c in crops]
    filled = [crops[0]] * offset + crops
    filled += [filled[-1]] * (per - len(filled))
    return AlignedChunk(index, kept, faces, np.stack(filled), offset, bool(known))


def _check_frame(frame: Frame) -> None:
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        found = f"{getattr(frame, 'dtype', type(frame).__name__)} {getattr(frame, 'shape', '')}"
        raise UserError(f"Frames must be uint8 arrays [h, w, 3], not {found}.")


def _no_face(options: Options, state: tracking.TrackingState) -> str:
    if options.face > 0 and state.most_faces > 0:
        return (
            f"There is no face number {options.face}: at most {state.most_faces} were seen; "
            f"choose --face 0 to {state.most_faces - 1}."
        )
    return "No face was found in the video; it must show a speaker's face from the front, at least 50 pixels wide."
