"""Devices and processes of a run: who takes part, where its arrays lie, which samples a process reads.

A run on one device has no mesh, and nothing here changes it.
"""

import hashlib
import json
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel import sharding
from lipforcing_jax.training.companions import explain_aborts

FIELDS = 128
"""Of a record, that are compared between processes."""


def join_processes(patience: int = 100) -> None:
    """Makes this process one of several that train together; must come before any array.

    Slurm, GKE and TPU VMs tell JAX who the others are. Elsewhere the environment does: JAX_COORDINATOR_ADDRESS (host
    and port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
      patience: seconds without a sign of life after which a process counts as lost.

    Raises:
      UserError: the others are not found.
    """
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = [int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()]
    numbers = dict(zip(("num_processes", "process_id"), given, strict=True)) if len(given) == 2 else {}
    try:
        jax.distributed.initialize(**numbers, heartbeat_timeout_seconds=patience)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"The processes of this run did not find each other ({str(error).splitlines()[0]}); start it by Slurm or "
            "on TPU hosts, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID."
        ) from error
    explain_aborts()


def mesh_of(config, heads: int) -> Mesh | None:
    """The mesh that `config.mesh` describes, or one by rule over all devices; None where there is but one.

    Raises:
      UserError: it does not divide devices, heads or batch, or samples can't be shared out among processes.
    """
    text, devices = config.get("mesh", ""), jax.device_count()
    if devices == 1 and not text:
        return None
    shape = meshes.parse(text) if text else meshes.automatic(devices, config.batch, heads)
    meshes.check(shape, devices, config.batch, heads)
    mesh = meshes.make(shape)
    meshes.shares_of_processes(mesh)
    return mesh


def place(tree: Any, mesh: Mesh | None) -> Any:
    """Parameters and what belongs to them, each device with its slices."""
    return tree if mesh is None else jax.device_put(tree, sharding.shardings(tree, mesh))


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """What every device has all of."""
    return tree if mesh is None else jax.device_put(tree, sharding.everywhere(tree, mesh))


def share(mesh: Mesh | None) -> dict[str, int]:
    """The part of a data set that this process reads, as fields of `Reading`.

    Processes that divide the same samples among their devices read the same part.
    """
    if mesh is None:
        return {"host": 0, "hosts": 1}
    shares = meshes.shares_of_processes(mesh)
    parts = sorted(set(shares.values()))
    return {"host": parts.index(shares[jax.process_index()]), "hosts": len(parts)}


def together(batch: Any, mesh: Mesh | None) -> Any:
    """The samples of all processes as one batch; given are those of this one (`share`)."""
    if mesh is None:
        return batch
    count = share(mesh)["hosts"]

    def one(mine):
        # Where samples lie follows from how many there are of all processes.
        shape = (count * len(mine), *mine.shape[1:])
        place = sharding.batch_shardings(jax.ShapeDtypeStruct(shape, mine.dtype), mesh)
        return jax.make_array_from_process_local_data(place, mine, shape)

    return jax.tree.map(one, batch)


def whole(tree: Any) -> Any:
    """Arrays that this process can read in full."""
    return tree if jax.process_count() == 1 else multihost_utils.process_allgather(tree, tiled=True)


def first_process() -> bool:
    """Whether this process writes what only one should."""
    return jax.process_index() == 0


def anyone(flag: bool) -> bool:
    """Whether the flag is raised on any process; all have to ask."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())


def check_agreement(record: dict) -> None:
    """That all processes were started with the same settings.

    Raises:
      UserError: some were not; the fields of this process's record that differ from the first one's are named.
    """
    if jax.process_count() == 1:
        return
    lines = {name: json.dumps(value, default=str, sort_keys=True) for name, value in sorted(record.items())}
    digests = [hashlib.sha256(f"{name}={value}".encode()).digest() for name, value in lines.items()]
    names = hashlib.sha256(" ".join(lines).encode()).digest()
    mine = np.frombuffer(b"".join([names, *digests[:FIELDS]]).ljust(32 * (FIELDS + 1), b"\0"), np.uint8)
    all_of_them = multihost_utils.process_allgather(mine.reshape(-1, 32))
    differing = (all_of_them != all_of_them[:1]).any(axis=(0, 2))
    if differing[0]:
        raise UserError("The processes of this run were started with different fields; give all the same command.")
    if differing.any():
        named = [name for name, differs in zip(lines, differing[1:], strict=False) if differs]
        raise UserError(
            f"The processes of this run disagree about {', '.join(named)}; start all of them with the same settings."
        )
