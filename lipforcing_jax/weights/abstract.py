"""Parameters of a network that is declared and not made: paths and shapes."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from flax import nnx


@cache
def abstract_parameters(module: type[nnx.Module], cfg) -> Mapping[tuple, nnx.Param]:
    """Flat map from our parameter paths to shapes, without allocating anything.

    Kept, because declaring a deep network takes a second and naming, checking and mapping its tensors each ask.
    """
    model = nnx.eval_shape(lambda: module(cfg, rngs=nnx.Rngs(0)))
    return MappingProxyType(dict(nnx.to_flat_state(nnx.state(model, nnx.Param))))
