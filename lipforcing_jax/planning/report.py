"""Plans of whole jobs: which mesh, what every program needs, and what that means for the job."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from lipforcing_jax.models.presets import Preset
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import programs
from lipforcing_jax.planning.chips import Topology
from lipforcing_jax.planning.plan import Need, need, table
from lipforcing_jax.planning.programs import Job
from lipforcing_jax.weights.networks import find

CLIP = 21
"""Latent frames of the teacher's clips."""


@dataclass(frozen=True)
class Asked:
    """A job, its batch on all devices, and how its programs are made; a wider mesh may ask for a larger batch."""

    name: str
    batch: int
    heads: int
    make: Callable[[int, object], Job]
    streaming: bool = False


@dataclass(frozen=True)
class Plan:
    """What a job needs on one mesh of one topology."""

    name: str
    topology: Topology
    mesh: MeshShape
    batch: int
    notes: list[str]
    needs: list[Need]

    @property
    def fits(self) -> bool:
        return all(found.fits for found in self.needs)

    @property
    def least_seconds(self) -> float:
        """Of one call of every program."""
        return sum(found.least_seconds for found in self.needs)

    def record(self) -> dict:
        return {
            "job": self.name, "topology": self.topology.name, "mesh": str(self.mesh), "batch": self.batch,
            "notes": self.notes, "fits": self.fits, "programs": [found.record() for found in self.needs],
        }  # fmt: skip

    def text(self) -> str:
        chip = self.topology.chip
        head = (
            f"{self.name} on {self.topology.name} ({self.mesh.size} chips of {chip.memory_gib:g} GiB), "
            f"mesh {self.mesh}, batch {self.batch}"
        )
        lines = [head, *self.notes, "", table(self.needs)]
        for found in self.needs:
            if not found.fits:
                lines.append(f"{found.program} needs {found.total - chip.memory_gib:.1f} GiB more than a chip has.")
            elif found.seconds_of_video:
                speed = found.seconds_of_video * 25 / found.least_seconds
                lines.append(
                    f"{found.program}: at most {speed:.0f} frames a second; 25 a second for each of {self.batch} take "
                    f"{25 * self.batch / speed:.0%} of the chips' best."
                )
        return "\n".join(lines)


def shallower(preset: Preset, layers: int | None) -> Preset:
    """The preset with as many blocks."""
    return preset if layers is None else replace(preset, dit=replace(preset.dit, num_layers=layers))


def asked_training(config, layers: int | None = None) -> Asked:
    """A training stage. Raises UserError where its preset is unknown."""
    preset = shallower(find(config.preset), layers)

    def make(batch: int, mesh) -> Job:
        wider = config.copy_and_resolve_references()
        wider.accumulation = max(1, config.batch * config.accumulation // batch)
        wider.batch = batch
        return programs.training(wider, preset, mesh)

    return Asked(f"{config.name} of {config.preset}", config.batch, preset.dit.num_heads, make)


def asked_serving(name: str, streams: int, sampler: bool = False, layers: int | None = None) -> Asked:
    """Serving of a preset, or its teacher's sampler. Raises UserError where the preset is unknown."""
    preset = shallower(find(name), layers)

    def make(batch: int, mesh) -> Job:
        if sampler:
            return programs.sampler(preset, batch, CLIP, mesh)
        return programs.serving(preset, batch, mesh)

    what = f"sampler of {name}'s teacher" if sampler else f"serving of {name}"
    return Asked(what, streams, preset.dit.num_heads, make, streaming=not sampler)


def planned(asked: Asked, topology: Topology, mesh: str | None) -> Plan:
    """The plan on a mesh given by its text, or chosen by rule.

    Raises:
      UserError: the mesh is not understood, or does not divide devices or heads.
    """
    return plan_on(asked, topology, meshes.parse(mesh) if mesh else chosen(asked, len(topology.devices)))


def chosen(asked: Asked, devices: int) -> MeshShape:
    """A stream's step is divided by width, everything else by samples and then tokens."""
    if asked.streaming:
        shares = meshes.automatic(devices, asked.batch, asked.heads)
        return MeshShape(data=shares.fsdp, tensor=shares.sequence)
    return meshes.automatic(devices, asked.batch, asked.heads)


def plan_on(asked: Asked, topology: Topology, shape: MeshShape) -> Plan:
    batch, notes = asked.batch, []
    if batch % shape.batch_shares:
        batch = shape.batch_shares
        notes.append(f"The batch is {batch} in place of {asked.batch}: one sample for each share of this mesh.")
    meshes.check(shape, len(topology.devices), batch, asked.heads)
    mesh = meshes.make(shape, topology.devices)
    job = asked.make(batch, mesh)
    return Plan(asked.name, topology, shape, batch, notes, [need(p, job, mesh, topology.chip) for p in job.programs])


def likely(asked: Asked, devices: int) -> list[MeshShape]:
    """Meshes that divide everything, those first that send least: samples, then tokens, then width."""
    sizes = [n for n in range(1, devices + 1) if devices % n == 0]
    shapes = [
        MeshShape(fsdp=f, tensor=t, sequence=s)
        for f, t, s in product(sizes, repeat=3)
        if f * t * s == devices and asked.batch % f == 0 and asked.heads % (t * s) == 0
    ]
    return sorted(shapes, key=lambda s: (-s.fsdp, s.tensor))


def suggested(asked: Asked, topology: Topology, count: int) -> list[Plan]:
    """Plans on the likeliest meshes."""
    return [plan_on(asked, topology, shape) for shape in likely(asked, len(topology.devices))[:count]]


def best(plans: list[Plan]) -> Plan | None:
    """The plan that fits and takes least."""
    return min((p for p in plans if p.fits), key=lambda p: p.least_seconds, default=None)
