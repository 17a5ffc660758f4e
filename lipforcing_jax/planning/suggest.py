"""The fastest way that fits: over meshes and over what blocks recompute, with few of them compiled.

Every candidate is counted (`planning.estimate`) and only the likeliest are compiled, in the order of what they take at
least. Once one fits, those whose least is no less than it really took can be left out: they can't be faster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning.asked import Asked
from lipforcing_jax.planning.chips import Topology, larger, topology
from lipforcing_jax.planning.estimate import Counted, count, held
from lipforcing_jax.planning.report import Plan, laid_out, plan_on

MESHES = 8
"""Of the meshes that divide a job, how many are counted."""
LARGER = 2
"""Larger slices that are tried where nothing fits."""


@dataclass(frozen=True)
class Candidate:
    """A mesh, a policy, what they take at least in seconds, and what of a chip's GiB they surely fill."""

    mesh: MeshShape
    remat: str | None
    seconds: float
    fills: float


@dataclass(frozen=True)
class Found:
    """All plans that were made; of them the fastest that fits, or else the smallest, and the same on a larger slice."""

    plans: list[Plan]
    best: Plan | None
    nearest: Plan | None = None

    def text(self) -> str:
        """What was found, in a sentence."""
        if self.best is not None:
            return f"The fastest that fits: {self.best.setting}"
        least = min((p for p in self.plans if p.topology == self.plans[0].topology), key=lambda plan: plan.excess)
        said = f"None of these fits; the nearest, {least.setting}, needs {least.excess:.1f} GiB more than a chip has."
        if self.nearest is None:
            return said
        return f"{said} It fits on {self.nearest.topology} with {self.nearest.setting}."


def likely(asked: Asked, devices: int) -> list[MeshShape]:
    """Meshes that divide everything, those first that send least: samples, then tokens, then width.

    Meshes with more devices along tokens than heads to exchange for them come last.
    """
    sizes = [n for n in range(1, devices + 1) if devices % n == 0]
    shapes = [
        MeshShape(fsdp=f, tensor=t, sequence=s)
        for f, t, s in product(sizes, repeat=3)
        if f * t * s == devices and asked.batch % f == 0 and asked.heads % t == 0
    ]
    if asked.streaming:
        shapes = [MeshShape(data=s.fsdp, tensor=s.tensor) for s in shapes if s.sequence == 1]
    return sorted(shapes, key=lambda s: (asked.heads % s.head_shares > 0, -s.batch_shares, s.tensor))


def candidates(asked: Asked, slice_: Topology, counted: int = MESHES) -> list[Candidate]:
    """The likeliest meshes with every policy, in the order in which compiling them pays.

    Those that surely pass a chip's memory come last; then by time; then as `likely` has them.
    """
    work: dict[str | None, list[Counted]] = {}
    found = []
    for shape, remat in product(likely(asked, len(slice_.devices))[:counted], asked.remat or (None,)):
        mesh, job, *_ = laid_out(asked, slice_, shape, remat)
        # All meshes share out the same operations: one of them is traced.
        if remat not in work:
            work[remat] = [count(program, job, mesh) for program in job.programs]
        chips, chip = mesh.size, slice_.chip
        here = [Counted(c.program, c.operations, held(p, job), c.kept)
                for c, p in zip(work[remat], job.programs, strict=True)]  # fmt: skip
        seconds, fills = sum(c.seconds(chips, chip) for c in here), max(c.fills(chips) for c in here)
        found.append(Candidate(shape, remat, seconds, fills))
    return sorted(found, key=lambda c: (c.fills > slice_.chip.memory_gib, c.seconds))


def compiled(asked: Asked, slice_: Topology, order: list[Candidate]) -> Iterator[Plan]:
    """Plans of the candidates, until none that is left can be faster than one that fits."""
    fastest = float("inf")
    for candidate in order:
        if candidate.seconds >= fastest:
            continue
        plan = plan_on(asked, slice_, candidate.mesh, candidate.remat)
        if plan.fits:
            fastest = min(fastest, plan.least_seconds)
        yield plan


def search(asked: Asked, slice_: Topology, most: int) -> Found:
    """Compiles up to `most` candidates; where none fits, the frugalest one on the next larger slices.

    Raises:
      UserError: no mesh divides the job on this slice.
    """
    order = candidates(asked, slice_)
    if not order:
        raise UserError(
            f"No mesh divides a batch of {asked.batch} and {asked.heads} heads among the {len(slice_.devices)} chips "
            f"of {slice_.name}; take another batch or slice, or give --mesh."
        )
    plans = list(compiled(asked, slice_, order[:most]))
    if (best := fastest(plans)) is not None:
        return Found(plans, best)
    for name in larger(slice_.name)[:LARGER]:
        bigger = topology(name)
        frugal = min(candidates(asked, bigger), key=lambda c: (c.fills, c.seconds), default=None)
        if frugal is None:
            continue
        plans.append(plan := plan_on(asked, bigger, frugal.mesh, frugal.remat))
        if plan.fits:
            return Found(plans, None, plan)
    return Found(plans, None)


def fastest(plans: list[Plan]) -> Plan | None:
    """The plan that fits and takes least."""
    return min((p for p in plans if p.fits), key=lambda p: p.least_seconds, default=None)
