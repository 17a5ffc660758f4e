"""One frozen base under three networks (spec training 2.1).

Teacher, student and critic are different values of the same few parameters on one shared copy of all others. What is
differentiated, optimised and saved is the trained part alone: frozen leaves never meet a gradient.
"""

from typing import NamedTuple

from flax import nnx

from lipforcing_jax.models.dit import DiT

LOW_RANK = nnx.Any(
    nnx.LoRAParam,
    nnx.PathContains("audio_proj"),
    nnx.PathContains("audio_cond_projs"),
    nnx.PathContains("patch_embedding"),
)
"""The release's trained part: low-rank pairs, and the layers by which sound and picture enter (spec training 1.2)."""

EVERYTHING = nnx.Param
"""For networks small enough: nothing is shared and the base is empty."""


class Base(NamedTuple):
    """The network's structure and the parameters that never change."""

    graphdef: nnx.GraphDef
    frozen: nnx.State

    def join(self, trained: nnx.State) -> DiT:
        """The network that `trained` makes of this base."""
        return nnx.merge(self.graphdef, self.frozen, trained)


def split(model: DiT, trained=LOW_RANK) -> tuple[Base, nnx.State]:
    """Base and trained part of a network; `trained` is an NNX filter."""
    graphdef, part, frozen = nnx.split(model, trained, ...)
    return Base(graphdef, frozen), part
