"""One H.264 encode with its soundtrack, written whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import Float32, UInt8

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.files import libav_url
from lipforcing_jax.media.soundtrack import Soundtrack, open_soundtrack
from lipforcing_jax.media.video import EXACT_CONVERSION

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
_BT709 = 1  # the same number names BT.709's primaries, transfer and matrix in libav


def check_output(path: str | Path) -> Path:
    """Check that a video can be written at `path`, before any work is done for it.

    Raises:
        UserError: the suffix names no container that can be written, the folder is missing or not writable,
            or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f'The output "{path}" is a folder; name a file in it, such as "{path / "out.mp4"}".')
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f'The output "{path}" must end in one of {", ".join(OUTPUT_SUFFIXES)}; rename it.')
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f'The output folder "{folder}" does not exist; create it first.')
    probe = _temporary_name(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" is not writable ({error.strerror}); choose another one.'
        ) from error
    return path


class VideoWriter:
    """Writes RGB frames and a soundtrack into one file; use as a context manager.

    One H.264 encode, tagged and converted as BT.709 in limited range. Pictures of even size are stored as
    4:2:0; an odd width or height needs 4:4:4 to be kept, which some players can't show (`warnings` says so).
    The file grows under a hidden name in the target's folder and takes its name when the block ends well;
    after an exception it is removed and a file that was there before stays as it was.

    The soundtrack is the one given, from `audio_start` on and cut to the video's length: copied bit for bit
    where the container and common players take its codec, else AAC at the source's own rate and channels.

    Args:
        path: .mp4, .m4v, .mov or .mkv.
        width, height: size of the frames in pixels.
        fps: constant rate of the frames.
        audio: a file with an audio track, or mono samples in [-1, 1], or None.
        audio_rate: samples per second, for samples only.
        audio_start: seconds of the audio to leave out at its beginning.
        audio_duration: seconds of audio at most; None for as many as there are frames.
        crf: x264's constant rate factor; lower is better and bigger.
        preset: x264's preset. The default takes about 12 ms of one core per 720x720 frame;
            slower ones give smaller files, not better ones.
        sample_aspect: width over height of a pixel as shown.

    Raises:
        UserError: as `check_output`; the audio can't be used; writing fails, for example on a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float = 25.0,
        audio: str | Path | Float32[np.ndarray, " n"] | None = None,
        audio_rate: int = 16000,
        audio_start: float = 0.0,
        audio_duration: float | None = None,
        crf: float = 18,
        preset: str = "superfast",
        sample_aspect: Fraction = Fraction(1),
    ):
        self.path = check_output(path)
        self.warnings: list[str] = []
        self.n_frames = 0
        self._shape = (height, width, 3)
        self._fps = Fraction(fps).limit_denominator(1001)
        self._temporary = _temporary_name(self.path)
        self._to_yuv = VideoReformatter()
        self._audio_limit = None if audio_duration is None else Fraction(audio_duration)
        self._soundtrack: Soundtrack | None = None
        options = {"movflags": "faststart"} if self.path.suffix.lower() != ".mkv" else {}
        self._container = av.open(libav_url(self._temporary), "w", options=options)
        try:
            self._stream = self._add_video_stream(crf, preset, sample_aspect)
            if audio is not None:
                self._soundtrack = open_soundtrack(self._container, audio, audio_rate, audio_start)
        except BaseException:
            self.abort()
            raise

    def _add_video_stream(self, crf: float, preset: str, sample_aspect: Fraction) -> av.VideoStream:
        height, width, _ = self._shape
        stream = self._container.add_stream("libx264", self._fps, {"crf": str(crf), "preset": preset})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        if width % 2 or height % 2:
            stream.pix_fmt = "yuv444p"
            self.warnings.append(
                f"{width}x{height} is an odd size, kept by 4:4:4 colour, which some players can't show."
            )
        context = stream.codec_context
        context.thread_type = "FRAME"  # slices would cost quality
        context.time_base = 1 / self._fps
        context.sample_aspect_ratio = sample_aspect
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append one RGB frame."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._shape}, got {frame.dtype} {frame.shape}")
        picture = self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT_CONVERSION,
        )
        picture.pts, picture.time_base = self.n_frames, 1 / self._fps
        with self._write_errors():
            self._container.mux(self._stream.encode(picture))
            self.n_frames += 1
            if self._soundtrack is not None:
                self._soundtrack.write_until(self._sound_end())

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            ValueError: no frame was written.
            UserError: the file can't be finished.
        """
        try:
            if self.n_frames == 0:
                raise ValueError("a video needs at least one frame")
            with self._write_errors():
                self._container.mux(self._stream.encode(None))
                if self._soundtrack is not None:
                    self._soundtrack.finish(self._sound_end())
                self._container.close()
                os.replace(self._temporary, self.path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what was written; harmless after `close`."""
        if self._soundtrack is not None:
            self._soundtrack.close()
        with contextlib.suppress(FFmpegError, OSError):  # nothing is kept: its trailer does not matter
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _sound_end(self) -> Fraction:
        video_end = self.n_frames / self._fps
        return video_end if self._audio_limit is None else min(video_end, self._audio_limit)

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            raise UserError(
                f'Writing "{self.path}" failed ({error.strerror}); check the space left and the permissions.'
            ) from error


def _temporary_name(path: Path) -> Path:
    """A hidden name in the same folder, so that the final rename stays on one file system."""
    return path.with_name(f".lipforcing-{secrets.token_hex(8)}{path.suffix.lower()}")
