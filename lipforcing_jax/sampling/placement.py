"""How a stream lies on the devices that serve it: the student's memory by heads, pictures by rows, the rest by clips.

`place(x, axes)` puts one array, whose axes have the names of `parallel.rules`: inside a step it constrains, for a plan
it makes a shape with a place. Outside a mesh the former does nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from lipforcing_jax.parallel import sharding
from lipforcing_jax.sampling.causal import SamplerState

Place = Callable[[Any, Sequence[str | None]], Any]
Stream = TypeVar("Stream")


def constrained(x: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """`place` inside a step."""
    return sharding.constrain(x, *axes)


def by_heads(tree: Any, place: Place = constrained) -> Any:
    """Keys and values [layers, b, ..., heads, d]."""
    return jax.tree.map(lambda x: place(x, (None, "batch", *(None,) * (len(x.shape) - 4), "heads", None)), tree)


def by_clips(tree: Any, place: Place = constrained) -> Any:
    """Arrays whose first axis counts clips; every device has the whole of a number."""
    return jax.tree.map(lambda x: place(x, ("batch", *(None,) * (len(x.shape) - 1))[: len(x.shape)]), tree)


def by_rows(tree: Any, place: Place = constrained) -> Any:
    """Pictures, latents, and what an autoencoder remembers of them, [b, ..., rows, columns, channels]."""
    return jax.tree.map(lambda x: place(x, ("batch", *(None,) * (len(x.shape) - 4), "rows", None, None)), tree)


def everywhere(tree: Any, place: Place = constrained) -> Any:
    """Arrays of which every device has all."""
    return jax.tree.map(lambda x: place(x, (None,) * len(x.shape)), tree)


def of_sampler(state: SamplerState, place: Place = constrained) -> SamplerState:
    """What the student's step carries."""
    cache = everywhere(state.cache, place)._replace(
        k=by_heads(state.cache.k, place), v=by_heads(state.cache.v, place)
    )
    return by_clips(state._replace(cache=None), place)._replace(cache=cache)


def of_drawing(state: Stream | None, place: Place = constrained) -> Stream | None:
    """What drawing pictures carries, if it happens here."""
    if state is None:
        return None
    return state._replace(decoder=by_rows(state.decoder, place), mouths=by_clips(state.mouths, place))


def of_stream(state: Stream, place: Place = constrained) -> Stream:
    """Everything that a stream carries."""
    return state._replace(
        sampler=of_sampler(state.sampler, place),
        encoder=by_rows(state.encoder, place), drawing=of_drawing(state.drawing, place),
        ref_latent=by_clips(state.ref_latent, place), mouth=by_clips(state.mouth, place),
    )  # fmt: skip
