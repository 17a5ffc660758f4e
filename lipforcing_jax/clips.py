"""Whole clips: from files or arrays through a LipSyncer to a file or an array, with the record of the run."""

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import soxr

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.audio import load_audio
from lipforcing_jax.media.comparison import comparison_frame, waveform_strip
from lipforcing_jax.media.loop import ping_pong
from lipforcing_jax.media.video import read_video
from lipforcing_jax.media.video_writer import VideoWriter, check_output
from lipforcing_jax.options import FPS, SAMPLE_RATE, Options
from lipforcing_jax.report import Timings, versions
from lipforcing_jax.weights.store import sha256

STRIP_HEIGHT = 72
SILENT = 1e-4
"""Loudest sample, of 1, below which a sound is taken for silence: three steps of a 16-bit file."""
SHORT = 9 / FPS
"""Seconds of the first chunk. Less sound than that can be used, but is seldom meant."""


@dataclass
class SyncResult:
    """`frames` uint8 [t, h, w, 3] when no output file was given; `report` is the record of the run."""

    frames: np.ndarray | None
    path: Path | None
    report: dict
    warnings: list[str] = field(default_factory=list)


def sync(
    syncer,
    video: str | Path | np.ndarray,
    audio: str | Path | np.ndarray,
    out: str | Path | None,
    options: Options,
    *,
    audio_rate: int = SAMPLE_RATE,
    start: float = 0.0,
    duration: float | None = None,
    loop: str = "ping-pong",
    crf: float = 18,
    save_aligned: bool = False,
    save_comparison: bool = False,
    progress=None,
) -> SyncResult:
    """Makes `video` speak `audio`.

    Args:
      syncer: the `LipSyncer` that does the work; its `sync` is this function.
      video: a file, or frames uint8 [t, h, w, 3] at 25 a second.
      audio: a file, or mono samples in [-1, 1] at `audio_rate`.
      out: the file to write; None returns the frames.
      start: seconds into the video at which to begin (into the sound too where both are the same file).
      duration: seconds of result at most.
      loop: "ping-pong" runs a video shorter than the sound forth and back; "none" ends with the video.
      save_aligned, save_comparison: also write `<out>_aligned` and `<out>_comparison` beside the output.
      progress: called with (chunk, chunks, frames so far, frames in all) after every chunk.

    Raises:
      UserError: an input can't be used or an output can't be written; nothing is left behind.
    """
    outputs = _outputs(out, save_aligned, save_comparison)
    _refuse_overwriting(outputs, video, audio)
    warnings: list[str] = []
    sound, offset = _sound(video, audio, audio_rate, start, duration, warnings)
    cut = syncer.plan(len(sound), options)
    if len(sound) < SHORT * SAMPLE_RATE:
        lasts = len(sound) / SAMPLE_RATE
        warnings.append(f"The audio lasts only {lasts:.2f} s, less than one chunk; so does the result.")
    if np.abs(sound).max() < SILENT:
        warnings.append("The audio is silent, so there is nothing to speak; check that it is the right file.")
    source = _Source(video, start, loop)
    compile_seconds = syncer.warm_up()
    timings, begin = Timings(), time.perf_counter()
    counts, kept, total = {"detected": 0, "bridged": 0, "missing": 0}, [], 0
    with contextlib.ExitStack() as stack:
        files: _Files | None = None
        made = syncer.stream(source.frames(cut.frames), sound, options, timings)
        for batch in stack.enter_context(contextlib.closing(made)):
            if outputs and files is None:
                files = _Files(stack, outputs, batch, audio, audio_rate, offset, sound, crf)
            with timings.stage("write"):
                if files:
                    files.write(batch, total / cut.frames, cut.frames)
                else:
                    kept += batch.frames
            total += len(batch.frames)
            counts = {name: counts[name] + batch.counts[name] for name in counts}
            if progress:
                progress(batch.index + 1, cut.chunks, total, cut.frames)
        if total == 0:
            raise UserError(f"The video {video} gave no frames; it may be empty or begin after --start.")
        with timings.stage("write"):
            stack.close()
    seconds = time.perf_counter() - begin
    warnings += source.warnings + (files.warnings if files else [])
    report = {
        "frames": total, "chunks": -(-(total + 3) // 12), "seconds": seconds, "fps": total / seconds,
        "time_to_first_frame": timings.first, "compile_seconds": compile_seconds, "stages": timings.seconds,
        "bridged": counts["bridged"], "passed_through": counts["missing"], "preset": syncer.preset.name,
        "seed": options.seed, "weights_sha256": sha256(syncer.weights) if syncer.weights else None,
        "backend": jax.default_backend(), "versions": versions(), "warnings": warnings,
    }  # fmt: skip
    frames = np.stack(kept) if kept else None
    return SyncResult(frames, Path(out) if out else None, report, warnings)


def _outputs(out, save_aligned: bool, save_comparison: bool) -> dict[str, Path]:
    """Checked paths of all files to write."""
    if out is None:
        return {}
    path = check_output(out)
    outputs = {"result": path}
    if save_aligned:
        outputs["aligned"] = check_output(path.with_stem(path.stem + "_aligned"))
    if save_comparison:
        outputs["comparison"] = check_output(path.with_stem(path.stem + "_comparison"))
    return outputs


def _refuse_overwriting(outputs: dict[str, Path], video, audio) -> None:
    """An output must not take the place of an input."""
    inputs = [Path(given) for given in (video, audio) if isinstance(given, str | Path)]
    for path in outputs.values():
        for given in inputs:
            if path.exists() and given.exists() and path.samefile(given):
                raise UserError(f'The output "{path}" would overwrite an input; choose another name.')


def _sound(video, audio, rate: int, start: float, duration: float | None, warnings: list[str]):
    """Samples at 16 kHz, and the seconds left out at the sound's beginning."""
    if isinstance(audio, np.ndarray):
        sound = np.asarray(audio, np.float32)
        if sound.ndim != 1 or not len(sound):
            raise UserError(f"Audio samples must be a mono array [n] that is not empty, not of shape {sound.shape}.")
        if not np.isfinite(sound).all() or np.abs(sound).max() > 2:
            raise UserError("Audio samples must be finite numbers in [-1, 1]; divide 16-bit integers by 32768.")
        sound = sound if rate == SAMPLE_RATE else soxr.resample(sound, rate, SAMPLE_RATE)
        return sound[: None if duration is None else round(duration * SAMPLE_RATE)], 0.0
    same = not isinstance(video, np.ndarray) and Path(video).resolve() == Path(audio).resolve()
    offset = start if same else 0.0
    return load_audio(audio, SAMPLE_RATE, offset, duration, warnings), offset


class _Source:
    """The video's frames in the order they are shown."""

    def __init__(self, video, start: float, loop: str):
        self.video, self.start, self.loop, self.warnings = video, start, loop, []
        if isinstance(video, np.ndarray):
            if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
                raise UserError(
                    f"Video frames must be uint8 [t, h, w, 3] and not empty, not {video.dtype} {video.shape}."
                )
        else:
            read_video(video, FPS, start)

    def read(self, first: int, count: int | None):
        if isinstance(self.video, np.ndarray):
            begin = first + round(self.start * FPS)
            yield from self.video[begin : None if count is None else begin + count]
            return
        seconds = None if count is None else count / FPS
        with read_video(self.video, FPS, self.start + first / FPS, seconds) as reader:
            yield from reader
            if count is None:
                self.warnings += reader.warnings

    def frames(self, limit: int):
        return ping_pong(self.read, limit) if self.loop == "ping-pong" else itertools.islice(self.read(0, None), limit)


class _Files:
    """All output files of a run. None appears before the last frame, and none after a failure before it."""

    def __init__(self, stack, outputs, batch, audio, audio_rate, offset: float, sound, crf: float):
        height, width = batch.frames[0].shape[:2]
        size = batch.aligned[0].shape[0]
        self.strip = waveform_strip(sound, 2 * width, STRIP_HEIGHT + height % 2)
        shapes = {"result": (width, height), "aligned": (size, size),
                  "comparison": (2 * width, height + len(self.strip))}  # fmt: skip
        self.writers = {}
        for name, path in outputs.items():
            writer = VideoWriter(path, *shapes[name], FPS, audio, audio_rate, offset, crf=crf)
            self.writers[name] = stack.enter_context(writer)

    def write(self, batch, position: float, frames: int) -> None:
        for i, frame in enumerate(batch.frames):
            self.writers["result"].write(frame)
            if "aligned" in self.writers:
                self.writers["aligned"].write(batch.aligned[i])
            if "comparison" in self.writers:
                picture = comparison_frame(batch.source[i], frame, self.strip, position + i / frames)
                self.writers["comparison"].write(picture)

    @property
    def warnings(self) -> list[str]:
        return self.writers["result"].warnings
