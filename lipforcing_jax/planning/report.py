"""Plans of whole jobs: what every program needs on one mesh, and what that means for the job."""

from dataclasses import dataclass, fields

from lipforcing_jax.options import FPS
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning.asked import Asked, chosen
from lipforcing_jax.planning.chips import CHIPS, Chip, Topology, larger
from lipforcing_jax.planning.plan import Need, need, table

FIRST_CHUNK = 2 / 3
"""Passes over the network of a clip's first chunk among those of a later one, which also fills the memory."""


@dataclass(frozen=True)
class Plan:
    """What a job needs on one mesh of one topology. `remat` is None where the job's own setting holds."""

    name: str
    topology: str
    mesh: MeshShape
    batch: int
    notes: list[str]
    needs: list[Need]
    remat: str | None = None

    @property
    def chip(self) -> Chip:
        return CHIPS[self.topology.partition(":")[0]]

    @property
    def fits(self) -> bool:
        return all(found.fits for found in self.needs)

    @property
    def excess(self) -> float:
        """GiB by which the largest program passes a chip's memory; negative where it fits."""
        return max(found.total for found in self.needs) - self.chip.memory_gib

    @property
    def least_seconds(self) -> float:
        """Of one call of every program."""
        return sum(found.least_seconds for found in self.needs)

    @property
    def setting(self) -> str:
        """The mesh, and what blocks recompute where that was chosen too."""
        return f"mesh {self.mesh}" + (f", remat={self.remat}" if self.remat else "")

    @property
    def title(self) -> str:
        return f"{self.name} on {self.topology}, {self.setting}, batch {self.batch}"

    def need(self, program: str) -> Need | None:
        """What a program needs, if it was compiled and fits."""
        return next((n for n in self.needs if n.program == program and n.seconds is not None), None)

    def record(self) -> dict:
        """What JSON can carry; `of_record` reads it."""
        return {
            "job": self.name, "topology": self.topology, "mesh": str(self.mesh), "remat": self.remat,
            "batch": self.batch, "notes": self.notes, "fits": self.fits, "programs": [n.record() for n in self.needs],
        }  # fmt: skip

    def text(self, heading: str = "") -> str:
        """Heading, table and what follows from it, as Markdown."""
        chips = f"({self.mesh.size} chips of {self.chip.memory_gib:g} GiB)"
        head = f"{heading}{self.name} on {self.topology} {chips}, {self.setting}, batch {self.batch}"
        said = [*self.misfits(), *self.serving_lines()]
        return "\n".join([head, *self.notes, "", table(self.needs), *([""] if said else []), *said])

    def misfits(self) -> list[str]:
        """By how much programs do not fit."""
        lines = [
            f"{found.program} needs {found.total - self.chip.memory_gib:.1f} GiB more than a chip has."
            for found in self.needs if not found.fits
        ]  # fmt: skip
        if lines:
            bigger = larger(self.topology)
            slice_ = f" The next larger slice is {bigger[0]}." if bigger else ""
            lines.append(f"--suggest looks for a mesh, a way of recomputing or a larger slice that holds it.{slice_}")
        return lines

    def serving_lines(self) -> list[str]:
        """How fast video comes out at best, and when its first frame."""
        lines = []
        for found in self.needs:
            if not found.seconds_of_video or found.seconds is None:
                continue
            whole = chunk_seconds(self)
            speed = found.seconds_of_video * FPS / (whole or found.least_seconds)
            what = "see, chunk and draw" if whole else found.program
            lines.append(
                f"{what}: at most {speed:.0f} frames a second; {FPS} a second for each of {self.batch} take "
                f"{FPS * self.batch / speed:.0%} of the chips' best."
            )
            if (first := first_frame(self)) is not None:
                lines.append(
                    f"First frame: after {first:.3f} s at least, from the whole sound and the first 12 pictures."
                )
        return lines


def chunk_seconds(plan: Plan) -> float | None:
    """The least that a chunk takes from pictures to pictures; None where a part of it was not planned."""
    parts = [plan.need(name) for name in ("see", "chunk", "draw")]
    return None if None in parts else sum(part.least_seconds for part in parts)


def first_frame(plan: Plan) -> float | None:
    """The least time to a clip's first pictures: its sound heard, the first chunk seen, sampled and drawn."""
    whole, hear = chunk_seconds(plan), plan.need("hear")
    if whole is None or hear is None:
        return None
    return hear.least_seconds + whole - (1 - FIRST_CHUNK) * plan.need("chunk").least_seconds


def of_record(record: dict) -> Plan:
    """The plan that `Plan.record` described."""
    known = {field.name for field in fields(Need)}
    needs = [Need(**{k: v for k, v in program.items() if k in known}) for program in record["programs"]]
    return Plan(
        record["job"], record["topology"], meshes.parse(record["mesh"]), record["batch"], record["notes"], needs,
        record.get("remat"),
    )  # fmt: skip


def planned(asked: Asked, topology: Topology, mesh: str | None) -> Plan:
    """The plan on a mesh given by its text, or chosen by rule.

    Raises:
      UserError: the mesh is not understood, or does not divide devices or heads.
    """
    return plan_on(asked, topology, meshes.parse(mesh) if mesh else chosen(asked, len(topology.devices)))


def laid_out(asked: Asked, topology: Topology, shape: MeshShape, remat: str | None = None):
    """The mesh over the topology's devices, the job on it, the batch that it takes, and what to say about that.

    Raises:
      UserError: the mesh does not divide devices or heads, or samples can't be shared out among its hosts.
    """
    batch, notes = asked.batch, []
    if batch % shape.batch_shares:
        batch = shape.batch_shares
        notes.append(f"The batch is {batch} in place of {asked.batch}: one sample for each share of this mesh.")
    meshes.check(shape, len(topology.devices), batch, asked.heads)
    mesh = meshes.make(shape, topology.devices)
    meshes.shares_of_processes(mesh)
    return mesh, asked.job(batch, mesh, remat), batch, notes


def plan_on(asked: Asked, topology: Topology, shape: MeshShape, remat: str | None = None) -> Plan:
    """Compiles the job's programs. Raises UserError where the mesh does not divide devices or heads."""
    mesh, job, batch, notes = laid_out(asked, topology, shape, remat)
    needs = [need(program, job, mesh, topology.chip) for program in job.programs]
    return Plan(asked.name, topology.name, shape, batch, notes, needs, remat)
