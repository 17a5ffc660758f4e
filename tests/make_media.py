"""Small media files for tests, written by libav alone so that they do not depend on the code under test."""

from fractions import Fraction

import av
import numpy as np


def grey_frame(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def level_of(index: int) -> int:
    """Grey level that stands for frame `index` (0..70)."""
    return 30 + 3 * index


def index_of(frame: np.ndarray) -> int:
    """The number of the frame that `level_of` encoded; fails for levels between two numbers."""
    number = (float(frame.mean()) - 30) / 3
    assert abs(number - round(number)) < 0.4, number
    return round(number)


def write_video(path, frames, times=None, rate=25, audio=None, rotation=None, mirror=False, **context):
    """Write RGB frames; `times` in seconds make it variable frame rate; `audio` is (codec, rate, samples)."""
    options = {"preset": "ultrafast", "crf": "4"} | context.pop("options", {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(context.pop("codec", "libx264"), rate, options)
        height, width, _ = frames[0].shape
        stream.width, stream.height, stream.pix_fmt = width, height, context.pop("pix_fmt", "yuv420p")
        stream.codec_context.time_base = Fraction(1, 12000)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if rotation is not None or mirror:
            stream.set_display_rotation(rotation or 0, hflip=mirror)
        sound = None if audio is None else add_audio(container, *audio[:2], channels=len(audio[2]))
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = round((i / rate if times is None else times[i]) * 12000)
            frame.time_base = Fraction(1, 12000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            encode_audio(container, sound, audio[2])
    return path


def write_audio(path, samples, rate, codec, layout=None, sample_format=None):
    """Write float samples [channels, n] with the given codec."""
    with av.open(str(path), "w") as container:
        stream = add_audio(container, codec, rate, len(samples), layout, sample_format)
        encode_audio(container, stream, samples)
    return path


def add_audio(container, codec, rate, channels=1, layout=None, sample_format=None):
    stream = container.add_stream(codec, rate=rate, layout=layout or {1: "mono", 2: "stereo"}[channels])
    if sample_format is not None:
        stream.format = sample_format
    return stream


def encode_audio(container, stream, samples):
    if samples.shape[1]:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, 0, Fraction(1, stream.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def tone(seconds, rate, frequency=300.0, channels=1, amplitude=0.3):
    t = np.arange(round(seconds * rate)) / rate
    return np.tile(amplitude * np.sin(2 * np.pi * frequency * t), (channels, 1)).astype(np.float32)


def clicks(seconds, rate, channels=1):
    """Short bursts at irregular times, for finding shifts by correlation."""
    x = np.zeros(round(seconds * rate), np.float32)
    for time in np.arange(0.13, seconds - 0.1, 0.37) ** 1.03:
        start = round(time * rate)
        burst = 0.5 * np.sin(np.arange(rate // 50) * 0.4) * np.hanning(rate // 50)
        x[start : start + len(burst)] += burst[: len(x) - start]
    return np.tile(x, (channels, 1))
