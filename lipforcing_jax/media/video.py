"""Video files as streams of upright RGB frames at a constant rate."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from jaxtyping import UInt8

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.files import decode, open_media

# swscale's default path is off by one luma level; these flags make YUV -> RGB -> YUV unbiased.
EXACT_CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_MATRIX_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_STILL_FORMATS = ("image2", "tty")  # and every demuxer named *_pipe
_STILL_BRANDS = ("avif", "heic", "heix", "mif1")
# A jump backward or forward by more than this is a break in the time stamps, not a long frame.
_BREAK_BACKWARD_S, _BREAK_FORWARD_S = 1, 60
_SEEK_FROM_S = 4.0  # below this, decoding from the beginning costs less than a seek that may miss


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        width, height: size in pixels as shown, that is after rotation.
        fps: the source's average frame rate (frames are read at the rate asked for, not at this one).
        duration: seconds, or None where the file does not say.
        has_audio: whether there is an audio track.
        rotation: degrees counter-clockwise by which the stored picture is turned before it is shown.
        sample_aspect: width over height of a pixel as shown; 1 nearly always.
    """

    width: int
    height: int
    fps: float
    duration: float | None
    has_audio: bool
    rotation: int
    sample_aspect: Fraction = Fraction(1)


def probe_video(path: str | Path) -> VideoInfo:
    """Read a video file's facts; decodes one frame.

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, a still image, without a video track, or
            nothing in it can be decoded.
    """
    with open_media(path, "video") as container:
        stream = _video_stream(container, path)
        with contextlib.closing(decode(container, stream, path, [])) as frames:
            frame = next(frames)
        transpose = _orientation(frame)[0]
        width, height = (frame.height, frame.width) if transpose else (frame.width, frame.height)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        return VideoInfo(
            width=width,
            height=height,
            fps=float(_source_rate(stream)),
            duration=duration,
            has_audio=bool(container.streams.audio),
            rotation=frame.rotation,
            sample_aspect=1 / aspect if transpose else aspect,
        )


class VideoReader:
    """Frames of a video file at a constant rate; memory does not grow with the clip.

    Iterating yields UInt8[h w 3] RGB arrays; each new iteration starts over. Time zero is the first frame.
    Every source frame goes to the output slot nearest to its presentation time, a slot that gets several
    shows the last, and one that gets none repeats the one before. A source at the same rate therefore passes
    through one to one, even when its time stamps jitter by less than half a frame.

    Interlaced pictures are not deinterlaced, and high dynamic range becomes 8 bits without tone mapping.

    Attributes:
        info: the source's facts.
        warnings: after an iteration to the end, one sentence for each thing that was wrong but not fatal.
    """

    def __init__(
        self, path: str | Path, fps: float = 25.0, start: float = 0.0, duration: float | None = None
    ):
        if fps <= 0 or start < 0 or (duration is not None and duration <= 0):
            raise ValueError(f"need fps {fps} > 0, duration {duration} > 0 and start {start} >= 0")
        self.path = Path(path)
        self.info = probe_video(path)
        self.warnings: list[str] = []
        self._fps = Fraction(fps).limit_denominator(1001)
        self._start = Fraction(start).limit_denominator(1_000_000)
        self._limit = None if duration is None else max(1, round(duration * self._fps))
        self._live: Iterator | None = None

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        self.close()
        self.warnings.clear()
        self._live = self._frames()
        return self._live

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the running iteration, if any, and close its file."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def _frames(self) -> Iterator[np.ndarray]:
        to_rgb = _RgbConverter()
        n_left = self._limit
        empty = True
        with contextlib.closing(self._timed_frames()) as timed:
            for frame, n_slots in _on_grid(timed, self._fps, self._start):
                empty = False
                picture = to_rgb(frame)
                for repeat in range(n_slots if n_left is None else min(n_slots, n_left)):
                    yield picture.copy() if repeat else picture
                if n_left is not None:
                    n_left -= n_slots
                    if n_left <= 0:
                        return
        if empty:
            raise UserError(
                f'The video "{self.path}" ends before {float(self._start):g} s; choose an earlier start.'
            )

    def _timed_frames(self) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        """(seconds since the first frame, seconds shown, frame), from a frame at or before the start on."""
        if self._start > _SEEK_FROM_S:
            with self._open() as (container, stream):
                sought = _seek(container, stream, self._start, self.path, self.warnings)
                if sought is not None:
                    origin, frames = sought
                    yield from _presentation_times(frames, 1 / _source_rate(stream), origin)
                    return
        with self._open() as (container, stream):
            frames = decode(container, stream, self.path, self.warnings)
            yield from _presentation_times(frames, 1 / _source_rate(stream), None)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        with open_media(self.path, "video") as container:
            stream = _video_stream(container, self.path)
            stream.thread_type = "AUTO"
            yield container, stream


def read_video(
    path: str | Path, fps: float = 25.0, start: float = 0.0, duration: float | None = None
) -> VideoReader:
    """Frames of a video file, upright, RGB, at a constant rate.

    Args:
        path: any container and codec that libav reads; attached pictures are not taken for the video.
        fps: rate of the frames delivered.
        start: seconds after the first frame at which to begin.
        duration: seconds to deliver at most; None for all.

    Raises:
        UserError: here as in `probe_video`; while iterating, when the video ends before `start`.
    """
    return VideoReader(path, fps, start, duration)


class _RgbConverter:
    """Decoded pictures to upright RGB arrays of one size: that of the first picture."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._turn = (False, False, False)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if self._size is None:
            self._size, self._turn = (frame.width, frame.height), _orientation(frame)
        matrix = None
        if frame.colorspace == _MATRIX_UNSPECIFIED:  # as players guess it: high definition is BT.709
            high_definition = frame.width >= 1280 or frame.height > 576
            matrix = Colorspace.ITU709 if high_definition else Colorspace.ITU601
        # Planes take swscale half the time of packed pixels, which OpenCV then makes of them in no time.
        planar = self._reformatter.reformat(
            frame, *self._size, "gbrp", src_colorspace=matrix, interpolation=EXACT_CONVERSION
        )
        green, blue, red = (_pixels(plane) for plane in planar.planes)
        rgb = cv2.merge([red, green, blue])
        transpose, flip_x, flip_y = self._turn
        rgb = rgb.transpose(1, 0, 2) if transpose else rgb
        return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _pixels(plane: av.video.plane.VideoPlane) -> UInt8[np.ndarray, "h w"]:
    """A plane's bytes without the padding of its lines; a view."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _on_grid(
    timed: Iterator[tuple[Fraction, Fraction, av.VideoFrame]], fps: Fraction, start: Fraction
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yield (frame, number of output slots that show it); slot k is at `start + k / fps`."""
    n_out = slot = 0
    end, held = Fraction(0), None
    for time, shown, frame in timed:
        slot = _round_half_up((time - start) * fps)
        if held is not None and slot > n_out:
            yield held, slot - n_out
            n_out = slot
        held, end = frame, time + shown
    if held is not None and end > start:
        # The last frame is shown at least once, even where its stated length is next to nothing.
        yield held, max(_round_half_up((end - start) * fps), slot + 1, 1) - n_out


def _presentation_times(
    frames: Iterator[av.VideoFrame], interval: Fraction, origin: Fraction | None
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """Yield (seconds since `origin`, seconds shown, frame), the times never decreasing.

    Frames without a time follow the one before by `interval`; so does the first one after a break in the time
    stamps, as in recordings that were joined. Without `origin` the first frame is the origin.
    """
    last = None
    for frame in frames:
        time = frame.pts * frame.time_base if frame.pts is not None else None
        if origin is None:
            origin = time or Fraction(0)
        if time is None:
            time = Fraction(0) if last is None else last + interval
        else:
            time -= origin
        if last is not None and not -_BREAK_BACKWARD_S <= time - last <= _BREAK_FORWARD_S:
            origin += time - last - interval
            time = last + interval
        last = time if last is None else max(time, last)
        yield last, frame.duration * frame.time_base if frame.duration else interval, frame


def _video_stream(container: av.container.InputContainer, path: Path | str) -> av.VideoStream:
    """The video track; attached pictures (covers) do not count."""
    name = container.format.name
    brand = container.metadata.get("major_brand", "").strip()
    still = f'"{path}" is a still image, not a video; give a video file of the speaker.'
    if name.endswith("_pipe") or name in _STILL_FORMATS or brand in _STILL_BRANDS:
        raise UserError(still)
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise UserError(f'"{path}" has no video track; give a video file of the speaker.')
    if name == "gif" and streams[0].frames == 1:
        raise UserError(still)
    best = container.streams.best("video")
    return best if best in streams else streams[0]


def _source_rate(stream: av.VideoStream) -> Fraction:
    """Nominal frames per second; 25 where the file says nothing."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _seek(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    start: Fraction,
    path: Path,
    warnings: list[str],
) -> tuple[Fraction, Iterator[av.VideoFrame]] | None:
    """Go to the key frame at or before `start`.

    Returns:
        the first frame's time, from which `start` counts, and the frames from the key frame on; None where
        the file can't be searched by time.
    """
    with contextlib.closing(decode(container, stream, path, [])) as frames:
        first = next(frames)
    if first.pts is None:
        return None
    origin = first.pts * first.time_base
    target = origin + start
    frames = decode(container, stream, path, warnings)
    try:
        container.seek(math.floor(target / stream.time_base), stream=stream)
        first = next(frames)
    except (FFmpegError, UserError):
        return None
    if first.pts is None or first.pts * first.time_base > target:
        return None
    return origin, itertools.chain([first], frames)


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a decoded picture is to be shown, from its display matrix.

    Returns:
        (transpose, flip left-right, flip top-bottom), to be applied in this order. Rotations by multiples of
        90 degrees and mirror images are covered; other angles are taken as upright.
    """
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    # Row vectors times a 3x3 matrix of int32: (x', y') = (a x + c y, b x + d y).
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), "=i4").reshape(3, 3).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
