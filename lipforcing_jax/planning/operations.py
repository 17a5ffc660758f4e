"""Floating-point operations of a program, counted in what JAX traced: before any compiler repeats or splits them.

Compilers' own counts take the body of a loop once. Here a scan counts as often as it runs, and a kernel as often as
its grid has points.
"""

import math

from jax.extend.core import ClosedJaxpr, Jaxpr


def of_traced(traced) -> float:
    """Operations, on all devices together, of what `jax.jit(f).trace(...)` returns; a multiply-add is two.

    Matrix products and convolutions only. Of a condition's branches the most expensive one counts, and the body of a
    loop of unknown length once. Tiles that a kernel leaves out by its mask count as if they were computed.
    """
    return _jaxpr(traced.jaxpr.jaxpr)


def _jaxpr(jaxpr: Jaxpr) -> float:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation) -> float:
    params = equation.params
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        case "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            leaves = params["dimension_numbers"].rhs_spec[0]
            taps = math.prod(size for i, size in enumerate(kernel) if i != leaves)
            return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps
        case "scan":
            return params["length"] * _jaxpr(params["jaxpr"].jaxpr)
        case "cond":
            return max(_jaxpr(branch.jaxpr) for branch in params["branches"])
        case "pallas_call":
            return math.prod(params["grid_mapping"].grid) * _jaxpr(params["jaxpr"])
        case "shard_map":
            return params["mesh"].size * _jaxpr(params["jaxpr"]) / _repeated(equation)
        case _:
            return sum(_jaxpr(inner) for inner in inner(params))


def _repeated(equation) -> int:
    """How many devices do the same work: those along mesh axes by which none of the inputs is cut."""
    mesh, used = equation.params["mesh"], set()
    for place in equation.params["in_specs"]:
        for names in place:
            used |= {names} if isinstance(names, str) else set(names or ())
    return math.prod(size for name, size in mesh.shape.items() if name not in used)


def inner(params: dict):
    """Programs inside an equation: those of calls, checkpoints and custom derivatives."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one
