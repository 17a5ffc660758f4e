"""The audio track of a written video: copied where possible, else encoded once."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from jaxtyping import Float32

from lipforcing_jax.media.audio import audio_stream, cut, decode_blocks
from lipforcing_jax.media.files import decode, open_media, readable_packets

# Codecs copied as they are: those that the container's common players take, not all that the format allows.
_MP4_CODECS = ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus")
_COPIED = {
    "mp4": _MP4_CODECS,
    "ipod": _MP4_CODECS,  # what libav calls .m4v
    "mov": ("aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"),
    "matroska": (*_MP4_CODECS, "vorbis", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"),
}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_BITS_PER_SECOND = 192_000  # mono and stereo; more channels get half of this each


class Soundtrack(Protocol):
    """Audio written alongside the frames, so that the file stays interleaved and memory constant."""

    def write_until(self, end: Fraction) -> None:
        """Write what sounds before `end` seconds, as far as the codec's packets allow."""

    def finish(self, end: Fraction) -> None:
        """Write the rest up to `end` seconds and no more."""

    def close(self) -> None:
        """Let go of the source; harmless when repeated."""


def open_soundtrack(
    output: av.container.OutputContainer,
    audio: str | Path | Float32[np.ndarray, " n"],
    rate: int = 16000,
    start: float = 0.0,
) -> Soundtrack:
    """Add an audio stream to a file about to be written.

    Args:
        output: the container, before anything is muxed into it.
        audio: a file with an audio track, or mono samples in [-1, 1].
        rate: samples per second, for samples only.
        start: seconds to leave out at the beginning.

    Raises:
        UserError: the file can't be used as audio.
    """
    if isinstance(audio, np.ndarray):
        if audio.ndim != 1 or len(audio) == 0:
            raise ValueError(f"expected mono samples [n], got shape {audio.shape}")
        samples = audio[np.newaxis, round(start * rate) :].astype(np.float32, copy=False)
        blocks = (samples[:, i : i + rate] for i in range(0, samples.shape[1], rate))
        return EncodedSoundtrack(output, blocks, rate, "mono", contextlib.ExitStack())
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_media(audio, "audio"))
        stream = audio_stream(source, audio)
        if stream.codec_context.codec.canonical_name in _COPIED.get(output.format.name, ()):
            return CopiedSoundtrack(output, stream, audio, start, stack.pop_all())
        layout = _AAC_LAYOUTS.get(stream.channels, "stereo")
        blocks = decode_blocks(source, stream, audio, layout=layout)
        blocks = cut(blocks, round(start * stream.rate), None)
        return EncodedSoundtrack(output, blocks, stream.rate, layout, stack.pop_all())


class EncodedSoundtrack:
    """Samples encoded as AAC; the cut is exact to the sample."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        blocks: Iterator[Float32[np.ndarray, "channels n"]],
        rate: int,
        layout: str,
        source: contextlib.ExitStack,
    ):
        self._output, self._source = output, source
        self._blocks, self._rate, self._layout = blocks, rate, layout
        aac_rate = min((r for r in _AAC_RATES if r >= rate), default=_AAC_RATES[-1])
        self._stream = output.add_stream("aac", rate=aac_rate, layout=layout)
        n_channels = self._stream.channels
        wanted = max(_AAC_BITS_PER_SECOND, n_channels * _AAC_BITS_PER_SECOND // 2)
        self._stream.bit_rate = min(wanted, 6 * aac_rate * n_channels)  # AAC's own bound: 6144 bits a frame
        self._pending = np.zeros((n_channels, 0), np.float32)
        self._n_written = 0

    def write_until(self, end: Fraction) -> None:
        n_end = round(end * self._rate)
        while self._n_written < n_end:
            if self._pending.shape[1] == 0:
                block = next(self._blocks, None)
                if block is None:
                    return
                self._pending = block
            n = min(n_end - self._n_written, self._pending.shape[1])
            self._encode(self._pending[:, :n])
            self._pending = self._pending[:, n:]

    def finish(self, end: Fraction) -> None:
        self.write_until(end)
        self._output.mux(self._stream.encode(None))

    def close(self) -> None:
        self._source.close()

    def _encode(self, samples: np.ndarray) -> None:
        interleaved = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=self._layout)
        frame.sample_rate = self._rate
        frame.time_base, frame.pts = Fraction(1, self._rate), self._n_written
        self._n_written += samples.shape[1]
        self._output.mux(self._stream.encode(frame))


class CopiedSoundtrack:
    """Packets copied without decoding.

    A packet that crosses an end is kept whole and its surplus hidden by the container's edit list (start) and
    by its stated duration (end); Matroska has neither, so there the sound may be a packet longer.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        stream: av.AudioStream,
        path: str | Path,
        start: float,
        source: contextlib.ExitStack,
    ):
        self._output, self._source = output, source
        shift = Fraction(start).limit_denominator(1_000_000) + _first_sample_time(path)
        self._packets = _shifted_packets(stream, shift, keeps_priming=output.format.name != "matroska")
        self._stream = output.add_stream_from_template(stream)
        self._held: av.Packet | None = None

    def write_until(self, end: Fraction) -> None:
        while (packet := self._next()) is not None:
            if (packet.pts + packet.duration) * packet.time_base > end:
                self._held = packet
                return
            self._mux(packet)

    def finish(self, end: Fraction) -> None:
        while (packet := self._next()) is not None:
            n_ticks = round(end / packet.time_base) - packet.pts
            if n_ticks <= 0:
                return
            packet.duration = min(packet.duration, n_ticks)
            self._mux(packet)

    def close(self) -> None:
        self._source.close()

    def _next(self) -> av.Packet | None:
        packet, self._held = self._held, None
        return packet or next(self._packets, None)

    def _mux(self, packet: av.Packet) -> None:
        packet.stream = self._stream
        self._output.mux(packet)


def _first_sample_time(path: str | Path) -> Fraction:
    """Time stamp of the first sample that a decoder gives out, after the samples that only prime it.

    Raises:
        UserError: nothing can be decoded.
    """
    with open_media(path, "audio") as container:
        frame = next(decode(container, audio_stream(container, path), path, []))
        return Fraction(0) if frame.pts is None else frame.pts * frame.time_base


def _shifted_packets(stream: av.AudioStream, shift: Fraction, keeps_priming: bool) -> Iterator[av.Packet]:
    """Packets that sound after `shift` seconds, with times counted from there and increasing.

    Args:
        keeps_priming: deliver also the packet before the first, which codecs with overlapping windows need.
    """
    previous, last_pts = None, None
    for packet in readable_packets(stream.container):
        if packet is None or packet.stream_index != stream.index or packet.pts is None or packet.is_corrupt:
            continue
        packet.pts -= round(shift / packet.time_base)
        packet.dts = packet.pts
        packet.duration = packet.duration or 0
        if last_pts is None and packet.pts + packet.duration <= 0:
            previous = packet
            continue
        if last_pts is None and previous is not None and keeps_priming:
            yield previous
        if last_pts is None or packet.pts > last_pts:
            last_pts = packet.pts
            yield packet
