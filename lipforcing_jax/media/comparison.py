"""Pictures that compare a result with its source: side by side with the waveform, and contact sheets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

_BACKGROUND = (18, 20, 24)
_WAVE = (96, 165, 250)
_WAVE_PLAYED = (191, 219, 254)
_AXIS = (55, 62, 72)
_PLAYHEAD = (250, 204, 21)
_TEXT = (226, 232, 240)


def waveform_strip(
    audio: Float32[np.ndarray, " n"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A track's waveform: for each column the range of the samples that fall on it.

    Args:
        audio: mono samples in [-1, 1]; scaled so that the loudest fills the strip, silence stays a line.
        width, height: size of the picture in pixels.
    """
    strip = np.empty((height, width, 3), np.uint8)
    strip[:] = _BACKGROUND
    middle = height // 2
    strip[middle] = _AXIS
    if len(audio) == 0:
        return strip
    # Column c covers samples [c n / width, (c + 1) n / width), at least one.
    starts = np.arange(width) * len(audio) // width
    high, low = np.maximum.reduceat(audio, starts), np.minimum.reduceat(audio, starts)
    reach = 0.92 * (height / 2) / max(float(np.abs(audio).max()), 1e-3)
    rows = np.arange(height)[:, np.newaxis]
    top, bottom = middle - np.round(high * reach), middle - np.round(low * reach)
    strip[(rows >= top) & (rows <= bottom) & (bottom > top)] = _WAVE
    return strip


def comparison_frame(
    source: UInt8[np.ndarray, "h w 3"],
    result: UInt8[np.ndarray, "h w 3"],
    strip: UInt8[np.ndarray, "s two_w 3"],
    position: float,
) -> UInt8[np.ndarray, "total_h two_w 3"]:
    """Source left, result right, the waveform under them with a playhead.

    The picture is as wide as two frames and so even; with frames of odd height an odd strip makes the height
    even too, which `VideoWriter` prefers.

    Args:
        source, result: frames of one size.
        strip: `waveform_strip` as wide as both frames together.
        position: place of the playhead, 0 (start of the track) to 1 (end).
    """
    if source.shape != result.shape or strip.shape[1] != 2 * source.shape[1]:
        raise ValueError(f"sizes do not fit: {source.shape}, {result.shape}, strip {strip.shape}")
    strip = strip.copy()
    width = strip.shape[1]
    x = round(min(max(position, 0.0), 1.0) * (width - 1))
    played = strip[:, :x]
    played[(played == _WAVE).all(axis=-1)] = _WAVE_PLAYED
    half = max(1, width // 600)
    strip[:, max(0, x - half + 1) : x + half] = _PLAYHEAD
    return np.concatenate([np.concatenate([source, result], axis=1), strip])


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]],
    labels: Sequence[str],
    columns: Sequence[str] = (),
    cell_width: int = 200,
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Rows of frames with a name before each row, for example source, result and difference.

    Args:
        rows: frames, all of one shape; every row has the same number.
        labels: a name for each row.
        columns: text above each column, such as times; none by default.
        cell_width: width in pixels to which the frames are scaled.
    """
    if not rows or len({len(row) for row in rows}) != 1 or len(labels) != len(rows):
        raise ValueError("need rows of equal length and a label for each")
    height, width, _ = rows[0][0].shape
    cell = (cell_width, round(cell_width * height / width))
    gap, font = max(4, cell_width // 40), ImageFont.load_default(max(12, cell_width // 11))
    left = 5 * gap + max(round(font.getlength(label)) for label in labels)
    top = gap + (round(font.size * 1.5) if columns else 0)
    sheet = Image.new(
        "RGB", (left + len(rows[0]) * (cell[0] + gap), top + len(rows) * (cell[1] + gap)), _BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    for r, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = top + r * (cell[1] + gap)
        draw.text((2 * gap, y + cell[1] // 2), label, fill=_TEXT, font=font, anchor="lm")
        for c, frame in enumerate(row):
            small = cv2.resize(frame, cell, interpolation=cv2.INTER_AREA)
            sheet.paste(Image.fromarray(small), (left + c * (cell[0] + gap), y))
    for c, text in enumerate(columns):
        x = left + c * (cell[0] + gap) + cell[0] // 2
        draw.text((x, top // 2), text, fill=_TEXT, font=font, anchor="mm")
    return np.asarray(sheet)


def write_picture(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """An RGB picture as a file of the kind that its name ends with."""
    Image.fromarray(picture).save(path)


def difference_frame(
    source: UInt8[np.ndarray, "h w 3"], result: UInt8[np.ndarray, "h w 3"], gain: float = 3.0
) -> UInt8[np.ndarray, "h w 3"]:
    """Absolute difference of two frames, brightened by `gain`: black where nothing changed."""
    return cv2.convertScaleAbs(cv2.absdiff(source, result), alpha=gain)
