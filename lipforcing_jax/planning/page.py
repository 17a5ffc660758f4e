"""A page of plans: a Markdown file whose tables are the command's, and the plans behind them as JSON beside it.

The page says in two lines where the tables go; everything outside is left as it was written:

    <!-- plans -->
    <!-- end of plans -->

A plan of the same job, slice, mesh and batch replaces the one that is there, program by program.
"""

import json
from pathlib import Path

from lipforcing_jax.errors import UserError
from lipforcing_jax.options import FPS
from lipforcing_jax.planning import report
from lipforcing_jax.planning.report import Plan
from lipforcing_jax.whole_file import written_whole

BEGIN, END = "<!-- plans -->", "<!-- end of plans -->"
PAPER = {"1.3b": (31.6, 0.32), "14b": (15.1, 0.54)}
"""Frames a second and seconds to the first one of the paper's students, on its own GPU."""


def add(page: Path, plans: list[Plan]) -> None:
    """Writes plans into a page, beside those that are in it.

    Raises:
      UserError: the page is missing or does not say where plans go.
    """
    try:
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{page} must be a page with the lines {BEGIN} and {END}, between which plans go.") from error
    kept = merged(read(page.with_suffix(".json")), plans)
    records = [plan.record() for plan in kept]
    with written_whole(page.with_suffix(".json")) as growing:
        growing.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    with written_whole(page) as growing:
        growing.write_text(f"{before}{BEGIN}\n\n{tables(kept)}\n\n{END}{after}", encoding="utf-8")


def read(path: Path) -> list[Plan]:
    """Plans of a JSON file, none where there is no file."""
    return [report.of_record(r) for r in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def merged(old: list[Plan], new: list[Plan]) -> list[Plan]:
    """Old plans with the new ones in their places; of one plan, programs that are not new stay."""
    by_title = {plan.title: plan for plan in old}
    for plan in new:
        if (there := by_title.get(plan.title)) is not None:
            fresh = {n.program: n for n in plan.needs}
            kept = [fresh.pop(n.program, n) for n in there.needs]
            plan.needs[:] = [*kept, *fresh.values()]
        by_title[plan.title] = plan
    return sorted(by_title.values(), key=place)


def place(plan: Plan) -> tuple:
    """Where a plan stands on its page: serving first, one stream before several, then training; small before large."""
    serving = plan.name.startswith("serving")
    return not serving, serving and plan.batch > 1, plan.name, plan.mesh.size, plan.topology, str(plan.mesh)


def tables(plans: list[Plan]) -> str:
    """A summary of all plans, then each of them."""
    return "\n\n".join([summary(plans), *(plan.text("### ") for plan in plans)])


def summary(plans: list[Plan]) -> str:
    """One line a plan: the fullest chip, an update's time, and for serving the speed beside the paper's."""
    rows = [("job", "slice", "mesh", "batch", "GiB of a chip", "update at least s", "frames/s at most",
             "first frame at least s", "paper's"), ("---",) * 9]  # fmt: skip
    for plan in plans:
        most = max(plan.needs, key=lambda n: n.total)
        memory = f"{most.total:.1f} of {plan.chip.memory_gib:g}" + ("" if plan.fits else " (does not fit)")
        where = str(plan.mesh) + (f", remat={plan.remat}" if plan.remat else "")
        rows.append((plan.name, plan.topology, where, str(plan.batch), memory, updates(plan), *speeds(plan)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def updates(plan: Plan) -> str:
    """The least time of every program that trains; empty for serving."""
    if any(need.seconds_of_video for need in plan.needs):
        return ""
    took = [f"{n.program} {n.least_seconds:.2f}" for n in plan.needs if n.seconds and n.operations]
    return ", ".join(took)


def speeds(plan: Plan) -> tuple[str, str, str]:
    """Frames a second, time to the first one, and the paper's figures; empty where a job has none."""
    made = next((n for n in plan.needs if n.seconds_of_video and n.seconds), None)
    if made is None:
        return "", "", ""
    whole, first = report.chunk_seconds(plan), report.first_frame(plan)
    speed = made.seconds_of_video * FPS / (whole or made.least_seconds)
    paper = PAPER.get(plan.name.removeprefix("serving of ")) if plan.batch == 1 else None
    return (
        f"{speed:.0f}" + ("" if whole or made.program != "chunk" else " (chunk alone)"),
        "" if first is None else f"{first:.2f}",
        "" if paper is None else f"{paper[0]} / {paper[1]} s",
    )
