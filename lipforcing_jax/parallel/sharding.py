"""From names of axes to places on a mesh. Outside a mesh everything here leaves arrays as they are.

The mesh is the one that `jax.set_mesh` has made current, so networks and losses name axes and never hold a mesh.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import keystr

from lipforcing_jax.parallel.rules import ACTIVATIONS, TABLE, Regime, parameter_axes

Axes = Sequence[str | None]


def current(mesh: Mesh | None) -> AbstractContextManager:
    """In it networks and losses place their arrays on the mesh; without one nothing changes."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def spec(axes: Axes, shape: Sequence[int], mesh, table=ACTIVATIONS) -> PartitionSpec:
    """Where an array of this shape lies. A dimension keeps only those mesh axes by which its size divides."""
    return PartitionSpec(*(_cut(table.get(name, ()), size, mesh) for name, size in zip(axes, shape, strict=True)))


def _cut(names: tuple[str, ...], size: int, mesh) -> tuple[str, ...] | None:
    kept: tuple[str, ...] = ()
    for name in names:
        if mesh.shape[name] > 1 and size % (mesh.shape[name] * math.prod(mesh.shape[k] for k in kept)) == 0:
            kept = (*kept, name)
    return kept or None


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Asks that `x` lie where the names of its axes say."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, spec(axes, x.shape, mesh))


def ring(heads: int) -> int:
    """Devices that share tokens where they can't share the heads too; 1 where they can, or share nothing."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or heads % (mesh.shape["tensor"] * mesh.shape["sequence"]) == 0:
        return 1
    return mesh.shape["sequence"]


def per_device(
    function: Callable, inputs: Sequence[Axes], output: Axes, *arrays: jax.Array, shape: Sequence[int] | None = None
) -> jax.Array:
    """`function(*arrays)` run by every device on its own slices, for kernels that the compiler can't slice.

    `shape` is that of the whole result, for a function that asks for its place on the mesh and so runs only there.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function(*arrays)
    specs = tuple(spec(axes, x.shape, mesh) for axes, x in zip(inputs, arrays, strict=True))
    whole = jax.eval_shape(function, *arrays).shape if shape is None else shape
    return jax.shard_map(function, in_specs=specs, out_specs=spec(output, whole, mesh), check_vma=False)(*arrays)


def by_sample(function: Callable, whole: Any, *arrays: jax.Array) -> Any:
    """`function(whole, *arrays)`, every device for its own samples; `whole` is the same everywhere.

    The batch is the first axis of all arrays and of all results.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function(whole, *arrays)
    samples = spec(("batch",), arrays[0].shape[:1], mesh)
    places = (PartitionSpec(), *(samples,) * len(arrays))
    return jax.shard_map(function, in_specs=places, out_specs=samples, check_vma=False)(whole, *arrays)


def path_names(path) -> tuple[str, ...]:
    """The names in a pytree's path, without brackets and numbers of containers."""
    return tuple(name for name in keystr(path, simple=True, separator="/").split("/") if name != "value")


def parameter_spec(path, leaf, mesh, regime: Regime = "train") -> PartitionSpec:
    return spec(parameter_axes(path_names(path), len(leaf.shape)), leaf.shape, mesh, TABLE[regime])


def shardings(tree: Any, mesh, regime: Regime = "train") -> Any:
    """Where parameters, their gradients or an optimiser's memory of them lie."""
    return jax.tree.map_with_path(lambda path, x: NamedSharding(mesh, parameter_spec(path, x, mesh, regime)), tree)


def everywhere(tree: Any, mesh) -> Any:
    """Places of what every device has all of."""
    return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), tree)


def in_two_steps(tree: Any) -> Any:
    """Asks that a layer's parameters, cut along two axes of the mesh, be gathered along one after the other.

    Where both are all of a slice, the TPU compiler gathers in a single step by summing arrays of the whole size on all
    chips, which sends twice as much.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape["fsdp"] == 1 or mesh.shape["sequence"] == 1:
        return tree
    return jax.tree.map_with_path(
        lambda path, x: jax.lax.with_sharding_constraint(x, parameter_spec(path, x, mesh, "half gathered")), tree
    )


def constrain_parameters(tree: Any) -> Any:
    """Asks that gradients lie like the parameters they belong to."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return tree
    return jax.tree.map_with_path(
        lambda path, x: jax.lax.with_sharding_constraint(x, parameter_spec(path, x, mesh)), tree
    )


def batch_shardings(tree: Any, mesh, axis: int = 0) -> Any:
    """Where the arrays of a batch lie, whose samples are counted by `axis`."""

    def one(x):
        axes = [None] * len(x.shape)
        if len(x.shape) > axis:
            axes[axis] = "batch"
        return NamedSharding(mesh, spec(axes, x.shape, mesh))

    return jax.tree.map(one, tree)


def abstract(tree: Any, places: Any) -> Any:
    """Shapes and kinds of numbers of `tree` with places, for compiling ahead of time."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places)
