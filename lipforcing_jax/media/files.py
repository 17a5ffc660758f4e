"""Opening and decoding media files so that damage ends in one sentence instead of a traceback.

Video and audio share this: what a missing, empty or unreadable file is called, how a damaged packet is passed
over, and how a file that stops before its declared end is noticed.
"""

from collections.abc import Iterator
from pathlib import Path

import av
from av.error import FFmpegError

from lipforcing_jax.errors import UserError

# Containers whose header states a duration; elsewhere libav guesses it from the bit rate.
_FORMATS_WITH_DURATION = ("mov", "matroska", "avi", "wav", "flac", "asf", "flv")
# A declared duration is rounded to a frame of one of the tracks; more than this missing is a cut file.
_TRUNCATION_TOLERANCE_S = 0.25
# Titles need not be UTF-8. PyAV 19, which Python 3.12 and later get, reads them anyway and knows no such option.
_ANY_TITLE = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def libav_url(path: str | Path) -> str:
    """What libav takes for a local file: `file:` keeps a colon in a name from being read as a protocol."""
    return f"file:{path}"


def open_media(path: str | Path, kind: str) -> av.container.InputContainer:
    """Open a media file for reading.

    Args:
        path: the file.
        kind: what the file should be, used in messages: "video" or "audio".

    Raises:
        UserError: the file is missing, a folder, empty, not readable or of no known format.
    """
    path = Path(path)
    name = f'The {kind} file "{path}"'
    if path.is_dir():
        raise UserError(f"{name} is a folder; name one {kind} file in it.")
    if not path.exists():
        raise UserError(f"{name} does not exist; check the path.")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"{name} is empty (0 bytes); copy or download it again.")
        return av.open(libav_url(path), **_ANY_TITLE)
    except PermissionError as error:
        raise UserError(f"{name} may not be read; change its permissions.") from error
    except (FFmpegError, OSError) as error:
        raise UserError(
            f"{name} can't be read as a media file (damaged, incomplete or of an unknown format); "
            "check that it plays, copy it again or convert it to MP4."
        ) from error


def decode(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | Path, warnings: list[str]
) -> Iterator[av.frame.Frame]:
    """Decode one stream to its end, passing over damaged packets.

    Args:
        container: an open container, at the position from which to decode.
        stream: the stream to decode; the packets of the others are only looked at for their times.
        path: name used in messages.
        warnings: gets one sentence when the file is damaged or ends before its declared duration; nothing is
            added when the consumer stops early.

    Yields:
        decoded frames in presentation order.

    Raises:
        UserError: nothing in the stream can be decoded.
    """
    n_frames = n_damaged = 0
    end_s = 0.0
    for packet in readable_packets(container):
        if packet is None:  # the container could not be read any further
            n_damaged += 1
            continue
        if packet.pts is not None and packet.time_base is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        if packet.is_corrupt:  # cut off in the middle: decoding it would show grey smear or crackle
            n_damaged += 1
            continue
        try:
            frames = packet.decode()
        except FFmpegError:
            n_damaged += 1
            continue
        for frame in frames:
            n_frames += 1
            yield frame
    if n_frames == 0 and n_damaged == 0:
        raise UserError(f'The {stream.type} track of "{path}" is empty; give a file with content.')
    if n_frames == 0:
        raise UserError(
            f'Nothing in the {stream.type} track of "{path}" can be decoded; '
            "check that the file plays, copy it again or convert it to MP4."
        )
    missing_s = _declared_end(container) - end_s
    if missing_s > _TRUNCATION_TOLERANCE_S:
        warnings.append(
            f'"{Path(path).name}" is cut off: it declares {end_s + missing_s:.1f} s and holds {end_s:.1f} s, '
            "which are used."
        )
    elif n_damaged:
        warnings.append(
            f'"{Path(path).name}" is damaged or cut off; what can be read, {end_s:.1f} s, is used.'
        )


def readable_packets(container: av.container.InputContainer) -> Iterator[av.Packet | None]:
    """Packets of all streams; None stands for a read error, which ends the file."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (FFmpegError, OSError):
            yield None
            return
        yield packet


def _declared_end(container: av.container.InputContainer) -> float:
    """Seconds at which the header says that the file ends, or 0 where the format does not say."""
    stated = any(name in _FORMATS_WITH_DURATION for name in container.format.name.split(","))
    if not stated or container.duration is None:
        return 0.0
    return (container.duration + (container.start_time or 0)) / av.time_base
