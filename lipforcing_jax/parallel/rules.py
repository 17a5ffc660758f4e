"""The one place that says what lies where: names of array axes, and the mesh axes that slice them.

Parameters get the names of their axes by their role, which their path tells: a low-rank pair lies like the kernel
beside it, and an optimiser's memory like the parameter it belongs to, since its path ends alike.
"""

from types import MappingProxyType
from typing import Literal

Regime = Literal["train", "serve", "half gathered"]

ACTIVATIONS = {
    "batch": ("data", "fsdp"),
    "tokens": ("sequence",),
    # Between its projections attention has all tokens and a slice of the heads.
    "heads": ("tensor", "sequence"),
    "wide": ("tensor",),
    "rows": ("tensor",),
}
"""`wide` are the channels between a layer's two matrices; the channels of the residual stream are never cut. `rows` are
those of a picture in an autoencoder: neighbours exchange the rows at a convolution's edge."""

PARAMETERS: dict[Regime, dict[str, tuple[str, ...]]] = {
    # Whatever sees a parameter whole only for a moment may keep a slice of it.
    "train": {"stream": ("fsdp", "sequence"), "wide": ("tensor",)},
    # On its way to being whole.
    "half gathered": {"stream": ("fsdp",), "wide": ("tensor",)},
    # A stream's step is too short to gather parameters in it: they stay where they are used.
    "serve": {"wide": ("tensor", "sequence")},
}
"""`stream` are the channels of the residual stream, `wide` those between a layer's two matrices. An axis that is not in
the table is not cut."""

TABLE = MappingProxyType({regime: MappingProxyType(ACTIVATIONS | {f"p_{k}": v for k, v in axes.items()})
                          for regime, axes in PARAMETERS.items()})  # fmt: skip

_KERNELS = {
    **dict.fromkeys(("q", "k", "v", "ffn_in"), ("p_stream", "p_wide")),
    **dict.fromkeys(("o", "ffn_out"), ("p_wide", "p_stream")),
    **dict.fromkeys(("text_in", "time_in", "patch_embedding"), (None, "p_stream")),
    **dict.fromkeys(("text_out", "time_out", "time_projection", "head"), ("p_stream", None)),
    # The features of four video frames are ten thousand wide, what they are pressed into is 32.
    "proj": ("p_stream", None),
}
"""Axes in and out of every linear layer of the DiT."""


def parameter_axes(path: tuple[str, ...], ndim: int) -> tuple[str | None, ...]:
    """Names of a parameter's axes; `path` are the names that lead to it, whatever holds it.

    What is no kernel of the DiT is whole on every device: biases, norms, modulations, decoders, SyncNet.
    """
    if len(path) < 2:
        return (None,) * ndim
    layer, leaf = path[-2:]
    whole = (None,) * ndim
    if layer == "audio_cond_projs":
        return (None, None, "p_stream") if leaf == "kernel" else whole
    if layer not in _KERNELS:
        return whole
    enters, leaves = _KERNELS[layer]
    named = {"kernel": (enters, leaves), "lora_a": (enters, None), "lora_b": (None, leaves)}.get(leaf)
    if named is None or ndim < 2:
        return whole
    return (None,) * (ndim - 2) + named  # Layers are stacked on a leading axis.
