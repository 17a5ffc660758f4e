"""Parameters of a network that is declared and not made: paths and shapes."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from flax import nnx


@cache
def abstract_parameters(module: type[nnx.Module], cfg) -> Mapping[tuple, nnx.Param]:
    """Flat map from our parameter paths to shapes, without allocating anything.

    Kept, because declaring a deep network takes a second and naming, checking and mapping its tensors each ask.

    Raises:
      ValueError: some parameter would have no numbers, so there is no network of these sizes.
    """
    model = nnx.eval_shape(lambda: module(cfg, rngs=nnx.Rngs(0)))
    declared = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    for path, leaf in declared.items():
        if 0 in leaf.shape:
            raise ValueError(f"{'.'.join(map(str, path))} would be empty, {leaf.shape}")
    return MappingProxyType(declared)
