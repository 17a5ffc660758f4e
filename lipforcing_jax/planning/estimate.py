"""What can be said of a job before anything is compiled: operations, what lies in memory, what a backward pass keeps.

Seconds in place of the minutes that a compiler takes, so that many meshes and ways of recomputing can be put in order
and only a few be compiled. Temporaries and traffic between chips are not in it: nothing here says that a job fits.
"""

import math
from dataclasses import dataclass

import jax
from jax.extend.core import Jaxpr, Literal

from lipforcing_jax.planning import operations
from lipforcing_jax.planning.chips import Chip
from lipforcing_jax.planning.plan import GIB, bytes_elsewhere, bytes_on_chip
from lipforcing_jax.planning.programs import Job, Program


@dataclass(frozen=True)
class Counted:
    """One program, counted. `operations` and `kept` (bytes) of all chips together, `held` in GiB of one chip.

    `held` are the arguments and what the job keeps besides. `kept` is the largest of the stacks that one loop leaves
    to a later one, which in training is what the forward pass leaves to the backward pass.
    """

    program: str
    operations: float
    held: float
    kept: float
    seconds_of_video: float | None = None

    def seconds(self, chips: int, chip: Chip) -> float:
        """The least that arithmetic takes."""
        return self.operations / chips / chip.flops

    def fills(self, chips: int) -> float:
        """GiB of one chip that are surely taken, if what is kept is cut as often as there are chips."""
        return self.held + self.kept / chips / GIB


def count(program: Program, job: Job, mesh: jax.sharding.Mesh) -> Counted:
    """Traces a program and counts; nothing is compiled."""
    with jax.set_mesh(mesh):
        traced = program.function.trace(*program.args, **program.static)
    work = operations.of_traced(traced) * program.copies
    return Counted(program.name, work, held(program, job), stacked(traced.jaxpr.jaxpr), program.seconds_of_video)


def table(counted: list[Counted], chips: int, chip: Chip) -> str:
    """Counts of a job's programs as a Markdown table."""
    rows = [("program", "operations", "at least s", "held GiB"), ("---",) * 4]
    for c in counted:
        rows.append((c.program, f"{c.operations:.2e}", f"{c.seconds(chips, chip):.3f}", f"{c.held:.1f}"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def held(program: Program, job: Job) -> float:
    """GiB of one chip that arguments and the rest of the job's state take."""
    leaves = jax.tree.leaves((program.args, program.static))
    given = sum(bytes_on_chip(leaf) for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct))
    return (given + bytes_elsewhere(program, job)) / GIB


def stacked(jaxpr: Jaxpr) -> float:
    """Bytes of the largest set of results that any one loop of a program stacks for something that reads them."""
    read = {x for e in jaxpr.eqns for x in e.invars if not isinstance(x, Literal)}
    read |= {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    return max((_of_equation(equation, read) for equation in jaxpr.eqns), default=0.0)


def _of_equation(equation, read: set) -> float:
    inner = max((stacked(part) for part in operations.inner(equation.params)), default=0.0)
    if equation.primitive.name != "scan":
        return inner
    # What the loop carries leaves it as it is, what it stacks gains an axis.
    (body,) = operations.inner(equation.params)
    results = zip(equation.outvars, body.outvars, strict=True)
    stacks = (x for x, one in results if x.aval.ndim > one.aval.ndim and x in read)
    return max(inner, sum(math.prod(x.aval.shape) * x.aval.dtype.itemsize for x in stacks))
