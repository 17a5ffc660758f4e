"""Figures of the trajectory analysis (`evaluation/trajectory.py`): the trade-off along the steps, and the factorial."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipforcing_jax.sampling.bidirectional import SYNC_WINDOW

COLOURS = {"1.0": "#1f3a6e", "4.5": "#c0392b"}
"""By guidance scale: without in navy, with in red, as in the paper."""
MARKS = {
    (1.0, 1.0): (COLOURS["1.0"], "o"), (1.0, 4.5): ("#2e8b57", "s"),
    (4.5, 1.0): ("#d08a1d", "^"), (4.5, 4.5): (COLOURS["4.5"], "D"),
}  # fmt: skip
"""Colour and marker by the scales of the two jumps."""
NAMES = {"sync_c": "Sync-C", "sync_d": "Sync-D", "psnr": "mouth PSNR (dB)", "ssim": "mouth SSIM", "opening": "opening"}
SETTINGS = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "font.size": 9}


def trajectories(summary: dict, path: Path) -> Path:
    """Sync-C and fidelity of the teacher's x0 over the noise level, with and without guidance, and one over the other.

    Bands are 95 % intervals over clips; the paper's sync window is shaded, and the band that was found is marked.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        sync, likeness, plane = figure.subplots(1, 3)
        for axes, measure in ((sync, "sync_c"), (likeness, "psnr")):
            along_levels(axes, summary, measure)
        mark_band(sync, summary["band"])
        for scale, values in summary["trajectories"].items():
            x, y = values["psnr"]["mean"], values["sync_c"]["mean"]
            plane.plot(x, y, ".-", color=COLOURS[scale], label=label_of(scale))
            plane.plot(x[-1], y[-1], "*", color=COLOURS[scale], markersize=12)
        plane.set(xlabel=NAMES["psnr"], ylabel=NAMES["sync_c"], title="trade-off (star: last step)")
        figure.legend(*sync.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
        return save(figure, path)


def along_levels(axes: Axes, summary: dict, measure: str) -> None:
    """One measure over the noise level, which falls to the right as denoising goes on."""
    axes.axvspan(*SYNC_WINDOW, color="#888888", alpha=0.15, linewidth=0)
    for scale, values in summary["trajectories"].items():
        found = values[measure]
        axes.plot(summary["levels"], found["mean"], color=COLOURS[scale], label=label_of(scale))
        axes.fill_between(summary["levels"], found["low"], found["high"], color=COLOURS[scale], alpha=0.2, linewidth=0)
    axes.axhline(summary["source"][measure]["mean"], color="#888888", linestyle=":", label="unchanged source")
    if measure.startswith("sync"):
        axes.axhline(summary["truth"][measure]["mean"], color="black", linestyle="--", linewidth=1, label="truth")
    axes.set(xlim=(1, 0), xlabel="noise level", ylabel=NAMES[measure], title=NAMES[measure])


def mark_band(axes: Axes, band: dict) -> None:
    """A bar at the lower edge where guidance raises Sync-C for sure."""
    if band["found"]:
        axes.plot([band["high"], band["low"]], [0.02, 0.02], color="#c0392b", linewidth=4, solid_capstyle="butt",
                  transform=axes.get_xaxis_transform(), label="sync-favouring band")  # fmt: skip


def factorial(summary: dict, path: Path) -> Path:
    """Sync-C and fidelity of the two-step schedules by landing and scales, beside where whole trajectories end."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for axes, measure in zip(figure.subplots(1, 2), ("sync_c", "psnr"), strict=True):
            by_landing(axes, summary, measure)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
        return save(figure, path)


def by_landing(axes: Axes, summary: dict, measure: str) -> None:
    """Groups of four points, one group for each landing."""
    places = sorted({row["landing"] for row in summary["factorial"]}, reverse=True)
    for offset, (scales, (colour, marker)) in zip((-0.24, -0.08, 0.08, 0.24), MARKS.items(), strict=True):
        rows = [row for row in summary["factorial"] if (row["first"], row["second"]) == scales]
        x = np.array([places.index(row["landing"]) for row in rows]) + offset
        mean, low, high = (np.array([row[measure][part] for row in rows]) for part in ("mean", "low", "high"))
        axes.errorbar(x, mean, [mean - low, high - mean], fmt=marker, color=colour, capsize=2, markersize=5,
                      label=f"{scales[0]:g} then {scales[1]:g}")  # fmt: skip
    for scale, values in summary["trajectories"].items():
        axes.axhline(values[measure]["mean"][-1], color=COLOURS[scale], linestyle="--", linewidth=1,
                     label=f"all steps, {label_of(scale)}")  # fmt: skip
    axes.set_xticks(range(len(places)), [f"{place:.3f}" for place in places])
    axes.set(xlabel="landing (noise level)", ylabel=NAMES[measure], title=NAMES[measure])


def label_of(scale: str) -> str:
    return "no guidance" if float(scale) == 1.0 else f"guidance {scale}"


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
