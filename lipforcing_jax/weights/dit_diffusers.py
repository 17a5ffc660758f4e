"""The diffusion transformer's keys in diffusers' spelling (spec network 5.4)."""

import re

MODULES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "attn1.to_q": "self_attn.q",
    "attn1.to_k": "self_attn.k",
    "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_q": "cross_attn.q",
    "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    # The affine norm before cross-attention is the second there and the third here.
    "norm2": "norm3",
    "norm3": "norm2",
}
BLOCK = re.compile(r"(blocks\.\d+\.)(.*)")


def is_diffusers(names) -> bool:
    """Whether a checkpoint with these keys is in diffusers' spelling."""
    return any("condition_embedder." in name or ".attn1." in name or ".ffn.net." in name for name in names)


def native_name(name: str) -> str:
    """The reference's key of a diffusers key."""
    block = BLOCK.fullmatch(name)
    prefix, rest = block.groups() if block else ("", name)
    if rest == "scale_shift_table":
        return f"{prefix}modulation" if block else "head.modulation"
    for theirs, native in MODULES.items():
        if rest.startswith(theirs + "."):
            return prefix + native + rest[len(theirs) :]
    return name
