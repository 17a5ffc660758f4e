"""Jobs that plans are asked for: a training stage, serving, or the teacher's sampler."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.remat import POLICIES
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import programs, serving
from lipforcing_jax.planning.programs import Job
from lipforcing_jax.weights.networks import find

CLIP = 21
"""Latent frames of the teacher's clips."""


@dataclass(frozen=True)
class Asked:
    """A job, its batch on all devices, and how its programs are made; a wider mesh may ask for a larger batch.

    `make` takes the batch, the mesh and what blocks recompute (`models.remat`), where None leaves it as configured.
    `remat` are the policies that the job could have, `only` the programs that are asked for, all of them if empty.
    """

    name: str
    batch: int
    heads: int
    make: Callable[[int, object, str | None], Job]
    streaming: bool = False
    remat: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def job(self, batch: int, mesh, remat: str | None = None) -> Job:
        """The job with the programs that are asked for; the others' state stays part of it.

        Raises:
          UserError: there is no program of a name that is asked for.
        """
        job = self.make(batch, mesh, remat)
        names = [program.name for program in job.programs]
        for name in self.only:
            if name not in names:
                raise UserError(f"{self.name} has no program {name!r}; its programs are {', '.join(names)}.")
        return job._replace(programs=[p for p in job.programs if not self.only or p.name in self.only])


def shallower(preset: Preset, layers: int | None) -> Preset:
    """The preset with as many blocks."""
    return preset if layers is None else replace(preset, dit=replace(preset.dit, num_layers=layers))


def training(config, layers: int | None = None) -> Asked:
    """A training stage. Raises UserError where its preset is unknown."""
    preset = shallower(find(config.preset), layers)

    def make(batch: int, mesh, remat: str | None) -> Job:
        wider = config.copy_and_resolve_references()
        wider.accumulation = max(1, config.batch * config.accumulation // batch)
        wider.batch = batch
        if remat is not None:
            with wider.unlocked(), wider.ignore_type():
                wider.remat = remat
        return programs.training(wider, preset, mesh)

    policies = POLICIES if "remat" in config else ()
    return Asked(f"{config.name} of {config.preset}", config.batch, preset.dit.num_heads, make, remat=policies)


def streaming(name: str, streams: int, layers: int | None = None) -> Asked:
    """Serving of a preset, so many clips at once. Raises UserError where the preset is unknown."""
    preset = shallower(find(name), layers)
    make = lambda batch, mesh, _: serving.serving(preset, batch, mesh)  # noqa: E731
    return Asked(f"serving of {name}", streams, preset.dit.num_heads, make, streaming=True)


def sampling(name: str, clips: int, layers: int | None = None) -> Asked:
    """The sampler of a preset's teacher, so many clips at once. Raises UserError where the preset is unknown."""
    preset = shallower(find(name), layers)
    make = lambda batch, mesh, _: serving.sampler(preset, batch, CLIP, mesh)  # noqa: E731
    return Asked(f"sampler of {name}'s teacher", clips, preset.dit.num_heads, make)


def chosen(asked: Asked, devices: int) -> MeshShape:
    """A stream's step is divided by width, everything else by samples and then tokens."""
    shares = meshes.automatic(devices, asked.batch, asked.heads)
    return MeshShape(data=shares.fsdp, tensor=shares.sequence) if asked.streaming else shares
