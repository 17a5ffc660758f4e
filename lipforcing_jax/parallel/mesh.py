"""Meshes of devices over four axes.

    data      copies of everything; each takes a share of the batch
    fsdp      shares of the batch, too; parameters are stored in slices and gathered layer by layer
    tensor    slices of every layer's width: heads of attention, channels of the feed-forward
    sequence  slices of the clip's tokens; attention exchanges them for slices of its heads, or lets keys and values go
              round where heads are too few
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from lipforcing_jax.errors import UserError


@dataclass(frozen=True)
class MeshShape:
    """How many devices lie along each axis."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1

    @property
    def size(self) -> int:
        """Devices in all."""
        return math.prod(asdict(self).values())

    @property
    def batch_shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.data * self.fsdp

    @property
    def head_shares(self) -> int:
        """Into how many parts the heads of attention are cut, where they are enough; devices that share a sample."""
        return self.tensor * self.sequence

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in asdict(self).items() if size > 1) or "data=1"


AXES = tuple(field.name for field in fields(MeshShape))


def parse(text: str) -> MeshShape:
    """The shape that `data=2,fsdp=4` describes; axes that are not named have one device.

    Raises:
      UserError: an axis is unknown or named twice, or its size is no positive number.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if name not in AXES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise UserError(
                f"The mesh {text!r} is not understood at {part!r}; write axes and sizes like data=2,fsdp=4, each of "
                f"{', '.join(AXES)} at most once."
            )
        sizes[name] = int(size)
    return MeshShape(**sizes)


def automatic(devices: int, batch: int, heads: int) -> MeshShape:
    """As many slices of the batch as it gives, on the axis that also slices parameters; the clip's tokens on the rest.

    Raises:
      UserError: there is no such mesh.
    """
    fsdp = math.gcd(devices, batch)
    shape = MeshShape(fsdp=fsdp, sequence=devices // fsdp)
    check(shape, devices, batch, heads)
    return shape


def check(shape: MeshShape, devices: int, batch: int, heads: int) -> None:
    """Whether a mesh can be laid over the devices, the batch and the heads.

    Raises:
      UserError: it can't; with what would.
    """
    if shape.size != devices:
        raise UserError(
            f"The mesh {shape} needs {shape.size} devices and there are {devices}; choose sizes whose product is "
            f"{devices}."
        )
    if heads % shape.tensor:
        fitting = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise UserError(f"The mesh {shape} cuts {heads} heads into {shape.tensor}; choose tensor among {fitting}.")
    if batch % shape.batch_shares:
        raise UserError(
            f"The mesh {shape} cuts a batch of {batch} into {shape.batch_shares}; choose a batch that is a multiple of "
            f"{shape.batch_shares}, or put devices on tensor or sequence in place of data and fsdp."
        )


def shares_of_processes(mesh: Mesh) -> dict[int, tuple[int, ...]]:
    """Which shares of a batch lie on the devices of each process, by its number; the same for processes that divide
    samples among them.

    Raises:
      UserError: some lie on processes that do not have all others in common.
    """
    held: dict[int, set[int]] = {}
    for (data, fsdp, *_), device in np.ndenumerate(mesh.devices):
        held.setdefault(device.process_index, set()).add(data * mesh.shape["fsdp"] + fsdp)
    shares = {process: tuple(sorted(mine)) for process, mine in held.items()}
    if sum(map(len, set(shares.values()))) > mesh.shape["data"] * mesh.shape["fsdp"]:
        here = mesh.devices.size // len(shares)
        raise UserError(
            f"A process has {here} devices, and this mesh divides samples so that processes share some of theirs and "
            f"not others; choose tensor x sequence so that it divides {here} or is a multiple of it."
        )
    return shares


def for_stream(count: int, heads: int) -> Mesh | None:
    """A mesh that cuts a student's widths among the first `count` devices of this process; None for one device.

    Raises:
      UserError: there are fewer, or so many do not divide the heads.
    """
    if count == 1:
        return None
    there = jax.local_devices()
    if count > len(there):
        raise UserError(f"{count} devices are asked for and this process has {len(there)}; choose at most as many.")
    check(MeshShape(tensor=count), count, 1, heads)
    return make(MeshShape(tensor=count), there[:count])


def make(shape: MeshShape, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices`, all by default, neighbours on the axes that talk most (the last ones)."""
    sizes = tuple(asdict(shape).values())
    devices = jax.devices() if devices is None else devices
    if devices[0].platform == "tpu":
        placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        placed = np.asarray(devices).reshape(sizes)
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))
