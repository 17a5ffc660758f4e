"""Sound files as mono samples for the model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr
from jaxtyping import Float32

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.files import decode, open_media


@dataclass(frozen=True)
class AudioInfo:
    """What a file's audio track holds.

    Attributes:
        rate: samples per second.
        channels: number of channels.
        codec: libav's name of the codec, such as "aac".
        duration: seconds as the header states them, or None; exact lengths come from decoding.
    """

    rate: int
    channels: int
    codec: str
    duration: float | None


def probe_audio(path: str | Path) -> AudioInfo:
    """Read the facts of a file's audio track; video files will do.

    Raises:
        UserError: the file is missing, a folder, empty, unreadable or without an audio track.
    """
    with open_media(path, "audio") as container:
        stream = audio_stream(container, path)
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        return AudioInfo(stream.rate, stream.channels, stream.codec_context.codec.canonical_name, duration)


def load_audio(
    path: str | Path,
    rate: int = 16000,
    start: float = 0.0,
    duration: float | None = None,
    warnings: list[str] | None = None,
) -> Float32[np.ndarray, " n"]:
    """Decode a file's audio track to mono samples at one rate.

    Channels are averaged; more than two are first mixed to stereo by libav's rule, so that speech in the
    centre channel stays loud. The resampler is soxr's at high quality. The length is that of the decoded
    samples, whatever the header says: `round(decoded / source rate * rate)`.

    Args:
        path: any audio or video file that libav reads.
        rate: samples per second of the result.
        start: seconds to leave out at the beginning.
        duration: seconds at most; None for all.
        warnings: gets one sentence when the file is damaged or cut off and the rest is used.

    Returns:
        samples in [-1, 1].

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, without an audio track or without samples
            from `start` on.
    """
    if rate <= 0 or start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"need rate {rate} > 0, duration {duration} > 0 and start {start} >= 0")
    with open_media(path, "audio") as container:
        stream = audio_stream(container, path)
        source_rate = stream.rate
        mono = (block.mean(axis=0) for block in decode_blocks(container, stream, path, warnings))
        first = round(start * source_rate)
        last = None if duration is None else first + max(1, round(duration * source_rate))
        samples, n_used = _resample(cut(mono, first, last), source_rate, rate)
    if n_used == 0:
        raise UserError(f'The audio "{path}" holds no sound after {start:g} s; choose an earlier start.')
    n_wanted = max(1, round(n_used * rate / source_rate))
    samples = np.pad(samples[:n_wanted], (0, max(0, n_wanted - len(samples))))
    return np.clip(samples, -1.0, 1.0)


def audio_stream(container: av.container.InputContainer, path: str | Path) -> av.AudioStream:
    """The audio track that libav judges the main one.

    Raises:
        UserError: there is none, or its codec is unknown.
    """
    stream = container.streams.best("audio")
    if stream is None:
        raise UserError(f'"{path}" has no audio track; give a file with speech in it.')
    if not stream.rate or not stream.channels:
        raise UserError(
            f'The audio track of "{path}" can\'t be read (damaged or empty); copy it again or convert it.'
        )
    return stream


def decode_blocks(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    path: str | Path,
    warnings: list[str] | None = None,
    layout: str | None = None,
) -> Iterator[Float32[np.ndarray, "channels n"]]:
    """Decode an audio track block by block at its own rate.

    Args:
        layout: channel layout of the blocks; by default mono and stereo stay and the rest becomes stereo.

    Raises:
        UserError: there are no samples at all.
    """
    layout = layout or ("mono" if stream.channels == 1 else "stereo")
    rate, source, resampler = stream.rate, None, None
    for frame in decode(container, stream, path, [] if warnings is None else warnings):
        if frame.samples == 0:
            continue
        if (frame.format.name, frame.layout.name, frame.rate) != source:  # may change within a file
            source = (frame.format.name, frame.layout.name, frame.rate)
            resampler = av.AudioResampler(format="flt", layout=layout, rate=rate)
        frame.pts = None  # samples are counted, gaps in the time stamps are not filled
        for block in resampler.resample(frame):
            samples = block.to_ndarray().reshape(block.samples, -1).T
            yield np.nan_to_num(samples, posinf=1.0, neginf=-1.0)


def cut(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """Samples [first, last) of blocks [..., n] put end to end, without empty blocks; ends at `last`."""
    position = 0
    for block in blocks:
        if last is not None and position >= last:
            return
        n = block.shape[-1]
        part = block[..., max(0, first - position) : None if last is None else last - position]
        if part.shape[-1]:
            yield part
        position += n


def _resample(blocks: Iterator[np.ndarray], source_rate: int, rate: int) -> tuple[np.ndarray, int]:
    """Resampled samples and the number of source samples that went in."""
    resampler = soxr.ResampleStream(source_rate, rate, 1, dtype="float32", quality="HQ")
    parts, n_used = [], 0
    for block in blocks:
        n_used += len(block)
        parts.append(resampler.resample_chunk(np.ascontiguousarray(block, np.float32)))
    parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts), n_used
