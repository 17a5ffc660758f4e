"""The bundled clip and the picture that `lipforcing demo` draws of its result."""

from importlib import resources
from pathlib import Path

import numpy as np

from lipforcing_jax.media.comparison import contact_sheet, difference_frame, write_picture
from lipforcing_jax.media.video import read_video


def demo_inputs() -> tuple[Path, Path]:
    """A drawn speaker and another sentence, both part of the package."""
    folder = Path(str(resources.files("lipforcing_jax") / "assets" / "demo"))
    return folder / "speaker.mp4", folder / "speech.wav"


def contact_sheet_of(source: Path, result: Path, out: Path, count: int = 8) -> None:
    """Writes rows of source, result and difference at `count` moments as a PNG.

    The source runs forth and back where the result is longer.
    """
    shown, given = list(read_video(result)), list(read_video(source))
    order = np.concatenate([np.arange(len(given)), np.arange(len(given) - 2, 0, -1)])
    moments = np.linspace(0, len(shown) - 1, count).round().astype(int)
    before = [given[order[i % len(order)]] for i in moments]
    after = [shown[i] for i in moments]
    rows = [before, after, [difference_frame(a, b) for a, b in zip(before, after, strict=True)]]
    sheet = contact_sheet(rows, ("source", "result", "difference"), [f"{i / 25:.2f} s" for i in moments])
    write_picture(out, sheet)
