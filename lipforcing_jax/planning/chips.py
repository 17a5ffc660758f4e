"""TPU chips as their maker publishes them, and topologies as the compiler describes them."""

import math
import os
import re
from dataclasses import dataclass

from lipforcing_jax.errors import UserError


@dataclass(frozen=True)
class Chip:
    """Peak of one chip: bfloat16 operations a second, bytes a second from its memory and from the chips beside it."""

    name: str
    flops: float
    memory_gib: float
    memory_bandwidth: float
    link_bandwidth: float


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 32, 1228e9, 300e9),
        Chip("v5e", 197e12, 16, 819e9, 200e9),
        Chip("v5p", 459e12, 95, 2765e9, 600e9),
        Chip("v6e", 918e12, 32, 1640e9, 448e9),
    )
}
"""From the system architecture pages of Cloud TPU. Links are all of a chip's together, in both directions."""

_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SLICES = {"v4": _CUBIC, "v5e": _FLAT, "v5p": _CUBIC, "v6e": _FLAT}
"""Extents of slices by chip, from the smallest up."""


@dataclass(frozen=True)
class Topology:
    """A slice by its name, such as v5p:4x4x4."""

    name: str
    chip: Chip
    devices: tuple


def larger(name: str) -> list[str]:
    """Slices of the same chip with more chips than the one called `name`, from the smallest up."""
    kind, _, extent = name.partition(":")
    size = _size(extent)
    return [f"{kind}:{other}" for other in SLICES[kind] if _size(other) > size]


def _size(extent: str) -> int:
    return math.prod(int(n) for n in extent.split("x"))


def topology(name: str) -> Topology:
    """The slice that `name` describes.

    Raises:
      UserError: libtpu is missing, or there is no such slice.
    """
    kind, _, extent = name.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", extent):
        raise UserError(
            f"The topology {name!r} is not understood; write the chip and the extent of the slice like v5e:2x4 or "
            f"v5p:4x4x4, with a chip of {', '.join(CHIPS)}."
        )
    # Nothing runs on a TPU here: several processes may plan at once, and no machine is asked what it has.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    import jax
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, jax.errors.JaxRuntimeError) and "INVALID_ARGUMENT" in reason:
            raise UserError(f"The TPU compiler knows no topology {name} ({reason}); choose another extent.") from error
        raise UserError(
            f"The TPU compiler could not be loaded ({reason}); install it by pip install 'lipforcing-jax[plan]'."
        ) from error
    return Topology(name, CHIPS[kind], tuple(found.devices))
