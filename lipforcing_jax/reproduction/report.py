"""The report of a reproduction: one page of Markdown and its figures."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from lipforcing_jax import __version__
from lipforcing_jax.evaluation.interval import interval
from lipforcing_jax.evaluation.rivals import Rival, Speed
from lipforcing_jax.media.comparison import contact_sheet, difference_frame, write_picture
from lipforcing_jax.reproduction.comparison import Cast, Row
from lipforcing_jax.reproduction.stages import GOING_ON, SMALL, STUDENT, STUDENTS, WHOLE, Size
from lipforcing_jax.reproduction.verdicts import CLAIMS, Bar, Verdict, bars, column, decide
from lipforcing_jax.whole_file import written_whole

NAME = "reproduction.md"
FIGURES = "images/reproduction"
SHOWN = (STUDENT, "stage1", "teacher_guided")
SHEET, TRAJECTORIES, FACTORIAL = "talkers.jpg", "trajectories.png", "factorial.png"
TITLES = {
    "truth": "rendered truth",
    "source": "unchanged source",
    "stage1": "stage 1 only",
    "stage1_0833": "stage 1 only, landing 0.833",
    "dmd_guided": "DMD, guidance everywhere",
    "dmd_unguided": "DMD, no guidance",
    "sw_dmd": "SW-DMD",
    "sw_dmd_reward": "SW-DMD + reward",
    "sw_dmd_reward_0833": "SW-DMD + reward, landing 0.833",
    "teacher_guided": "teacher, guidance 4.5",
    "teacher_plain": "teacher, no guidance",
}


@dataclass(frozen=True)
class Findings:
    """All numbers of a reproduction; `pictures` is a folder with the sheets that were drawn on the way."""

    size: Size
    results: dict[str, list[Row]]
    speed: dict[str, Speed]
    trajectories: dict
    seconds: dict[str, float]
    pictures: Path

    @property
    def ratio(self) -> float:
        """The student's frames per second over the guided teacher's."""
        return self.speed[STUDENT].fps / self.speed["teacher_guided"].fps


def draw_talkers(cast: Cast, rivals: dict[str, Rival], folder: Path, count: int = 4, moments: int = 8) -> None:
    """Source, truth and results of the first talkers as one sheet."""
    rows, labels = [], []
    for talker, _ in zip(cast, range(count), strict=False):
        made = {"source": talker.source, "truth": talker.truth}
        made |= {name: rival(talker.source, talker.audio) for name, rival in rivals.items()}
        shown = np.linspace(2, len(talker.source) - 1, moments).round().astype(int)
        rows += [[frames[i] for i in shown] for frames in made.values()]
        rows.append([difference_frame(talker.truth[i], made[STUDENT][i]) for i in shown])
        labels += [*(TITLES.get(name, name) for name in made), "truth - student"]
    sheet = contact_sheet(rows, labels)
    write_picture(folder / SHEET, sheet)


def write(findings: Findings, out: Path) -> None:
    """Writes the page and its figures into `out`; both appear when they are complete."""
    figures = out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for name in (SHEET, TRAJECTORIES, FACTORIAL):
        shutil.copyfile(findings.pictures / name, figures / name)
    draw_students(findings, figures / "students.png")
    with written_whole(out / NAME) as growing:
        growing.write_text(page(findings))


def page(findings: Findings) -> str:
    """The whole report."""
    tested = [claim for claim in CLAIMS if {claim.better, claim.worse} <= {*findings.results}]
    verdicts = [decide(claim, findings.results) for claim in tested]
    parts = [
        head(findings), bars_table(bars(findings.results, STUDENT, findings.ratio)), students_table(findings),
        left_out(findings),
        f"![Every student and the teacher]({FIGURES}/students.png)\n", speed_table(findings), claims_table(verdicts),
        trajectory_part(findings), f"## Pictures\n\n![Talkers]({FIGURES}/{SHEET})\n", seconds_table(findings),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def head(findings: Findings) -> str:
    """What this page is, and on what it was made."""
    size, rows = findings.size, findings.results[STUDENT]
    hours = sum(findings.seconds.values()) / 3600
    small = "" if size.name != SMALL.name else (
        "\n**This is the miniature: it shows that every part runs. Its numbers mean nothing.**\n"
    )
    return f"""# Reproduction at nano size

{origin(size)}
{small}
Machine: {platform.machine()}, {os.cpu_count()} cores, JAX {jax.__version__} on {jax.default_backend()};
{hours:.1f} h of work, several parts at once where they could be. Compared on {len(rows)} held-out talkers of
{size.frames} frames: identities, voices and sentences that no training saw, each driven by the sound of another
sentence, beside the rendered truth of that pairing. Intervals are 95 % bootstraps over talkers. Sync-C and Sync-D are
those of nano's own SyncNet, which also gives the reward: a student that is rewarded by it may please it more than it
pleases people.
"""


def origin(size: Size) -> str:
    """What was trained, and from what."""
    if size.name != GOING_ON.name:
        option = "" if size.name == WHOLE.name else f" --{size.name}"
        return (
            f"Written by `lipforcing reproduce{option}`, version {__version__}, which trained everything on it from "
            "nothing."
        )
    talkers = size.changes["nano_talkers"]
    return f"""Written by `lipforcing reproduce --onward`, version {__version__}. It did not begin from nothing: ear,
autoencoder and SyncNet were taken as they were, and teacher and stage 1 began as the student of the same folder of
weights, the teacher as the paper's began as a trained video model. What is called stage 1 only here has whatever that
student had learnt before. Both were trained by this run, on {talkers["pairs"]} pairs of drawn talkers with the
faces of seeds from {talkers["first"]} on."""


def bars_table(found: list[Bar]) -> str:
    lines = ["## The student's bars\n", "| | reached | at least | |", "|---|---|---|---|"]
    lines += [f"| {b.text} | {b.reached:.2f} | {b.least:g} | {'met' if b.met else '**not met**'} |" for b in found]
    return "\n".join(lines) + "\n"


MEASURES = {
    "psnr": "mouth PSNR, dB",
    "ssim": "mouth SSIM",
    "opening": "opening",
    "copied": "copied",
    "sync_c": "Sync-C",
    "sync_d": "Sync-D",
}


def students_table(findings: Findings) -> str:
    """Every rival by every measure. The truth's likeness to itself is left out."""
    lines = [
        "## Students, teacher and truth\n",
        "`opening` is the correlation of the mouth's opening with the truth's, `copied` that with the source's.\n",
        "| | " + " | ".join(MEASURES.values()) + " |",
        "|---" * (len(MEASURES) + 1) + "|",
    ]
    for name, rows in findings.results.items():
        skip = ("psnr", "ssim") if name == "truth" else ()
        cells = ["" if m in skip else str(interval(column(rows, m))) for m in MEASURES]
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def left_out(findings: Findings) -> str:
    """Which students of the whole recipe are not on this page."""
    missing = [TITLES[name] for name in STUDENTS if name not in findings.results]
    return f"This run left out: {', '.join(missing)}. Claims about what is missing are not tested.\n" if missing else ""


def speed_table(findings: Findings) -> str:
    size = findings.size
    timed = f"in medians of {size.rounds} rounds in which both take turns" if size.rounds > 1 else "timed once"
    lines = [
        "## Speed\n",
        f"One clip of {size.frames} frames, aligned: encoding, sampling, decoding, {timed}. The teacher takes "
        f"{size.teacher_steps} steps of two passes; the student runs as in a stream, where a chunk is drawn while the "
        "next one is denoised.\n",
        "| | frames a second | first frames after, s | frames a second, diffusion network alone |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {TITLES[n]} | {s.fps:.1f} | {s.first_frames:.2f} | {s.network_fps:.1f} |" for n, s in findings.speed.items()
    ]
    student, teacher = findings.speed[STUDENT], findings.speed["teacher_guided"]
    rest = lambda speed: f"{100 * max(0.0, 1 - speed.fps / speed.network_fps):.0f} %"  # noqa: E731
    lines.append(
        f"\nThe student makes {findings.ratio:.1f} times as many frames a second and begins "
        f"{teacher.first_frames / student.first_frames:.0f} times as early. Its diffusion network alone is "
        f"{student.network_fps / teacher.network_fps:.1f} times as fast. What else a clip costs, above all in the "
        f"autoencoder, is {rest(student)} of the student's time and {rest(teacher)} of the teacher's."
    )
    return "\n".join(lines) + "\n"


def claims_table(verdicts: list[Verdict]) -> str:
    lines = [
        "## The paper's claims\n",
        "Paired differences in the claimed direction on the same talkers. A claim holds where the whole interval is "
        "above zero, and does not where it is below.\n",
        "| claim | measure | difference | |",
        "|---|---|---|---|",
    ]
    for v in verdicts:
        measure = MEASURES[v.claim.measure].split(",")[0]
        lines.append(f"| {v.claim.text} | {measure} | {v.difference} | {v.answer} |")
    return "\n".join(lines) + "\n"


def trajectory_part(findings: Findings) -> str:
    """What guidance does along the teacher's steps, and the two-step schedules."""
    summary = findings.trajectories
    found = summary["band"]
    if found["found"]:
        gains = found["gains"]
        band = (
            f"Guidance raises Sync-C for sure from level {found['high']:.3f} down to {found['low']:.3f}: there by "
            f"{gains['sync_c']:+.2f} on average, and the mouth's PSNR by {gains['psnr']:+.2f} dB. "
            f"{100 * found['inside_window']:.0f} % of these steps lie inside the paper's window 0.556 to 0.882, of "
            f"whose steps they are {100 * found['window_covered']:.0f} %."
        )
    else:
        band = "At no step does guidance raise Sync-C for sure: there is no sync-favouring band at this size."
    best = {m: max(summary["factorial"], key=lambda row, m=m: row[m]["mean"]) for m in ("sync_c", "psnr")}
    place = lambda row: f"{row['first']:g} then {row['second']:g}, landing at {row['landing']:.3f}"  # noqa: E731
    return f"""## The teacher's trajectory

{summary["clips"]} of the talkers. The x0 at which the teacher points is judged along its steps, without and with
guidance.

![Sync-C and fidelity along the steps]({FIGURES}/{TRAJECTORIES})

{band}

Two Euler steps of the teacher, each without or with guidance, by the level at which the first one lands (the paper's
combined analysis). Most Sync-C: {place(best["sync_c"])}. Nearest to the truth: {place(best["psnr"])}.

![Two-step schedules by their landing]({FIGURES}/{FACTORIAL})
"""


def seconds_table(findings: Findings) -> str:
    told = "Several ran at once where they could. Attempts that were stopped are not counted.\n"
    lines = ["## Minutes\n", told, "| stage | minutes |", "|---|---|"]
    lines += [f"| {name} | {seconds / 60:.1f} |" for name, seconds in findings.seconds.items()]
    return "\n".join(lines) + "\n"


def draw_students(findings: Findings, path: Path) -> None:
    """Fidelity over synchrony, one point with both intervals per rival."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for name in (name for name in findings.results if name != "truth"):
        x, y = (interval(column(findings.results[name], m)) for m in ("sync_c", "psnr"))
        axes.errorbar(
            x.mean, y.mean, xerr=[[x.mean - x.low], [x.high - x.mean]], yerr=[[y.mean - y.low], [y.high - y.mean]],
            fmt="s" if name.startswith("teacher") else "o", capsize=3, label=TITLES[name],
        )  # fmt: skip
    axes.axvline(column(findings.results["truth"], "sync_c").mean(), color="grey", linestyle=":", label=TITLES["truth"])
    axes.set_xlabel("Sync-C")
    axes.set_ylabel("mouth PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
