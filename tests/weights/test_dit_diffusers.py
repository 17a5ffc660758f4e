"""The diffusion transformer's keys in diffusers' spelling."""

import pytest

from lipforcing_jax.models.presets import DiTConfig
from lipforcing_jax.weights import dit_names
from lipforcing_jax.weights.dit_diffusers import is_diffusers, native_name

CFG = DiTConfig(dim=32, num_heads=2, ffn_dim=48, num_layers=4, text_dim=24, freq_dim=16)


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of diffusers' own model of these sizes."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    with torch.device("meta"):
        model = diffusers.WanTransformer3DModel(
            patch_size=CFG.patch, num_attention_heads=CFG.num_heads, attention_head_dim=CFG.head_dim,
            in_channels=CFG.in_dim, out_channels=CFG.latent_channels, text_dim=CFG.text_dim, freq_dim=CFG.freq_dim,
            ffn_dim=CFG.ffn_dim, num_layers=CFG.num_layers,
        )  # fmt: skip
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def without_sound(cfg: DiTConfig) -> dict[str, tuple[int, ...]]:
    return {n: tuple(s) for n, s in dit_names.manifest(cfg).items() if not n.startswith("audio_")}


def test_all_keys_of_diffusers_model_become_the_reference_s_with_equal_shapes():
    assert {native_name(name): shape for name, shape in published().items()} == without_sound(CFG)


def test_the_norms_change_places():
    """Its affine norm 2 is the reference's norm 3; the other two have no parameters."""
    assert native_name("blocks.7.norm2.weight") == "blocks.7.norm3.weight"
    assert native_name("blocks.7.norm3.weight") == "blocks.7.norm2.weight"
    assert native_name("blocks.12.attn2.norm_q.weight") == "blocks.12.cross_attn.norm_q.weight"


def test_both_tables_are_told_apart():
    assert native_name("scale_shift_table") == "head.modulation"
    assert native_name("blocks.0.scale_shift_table") == "blocks.0.modulation"


def test_the_reference_s_own_keys_are_left_alone():
    for name in dit_names.manifest(CFG):
        if not name.endswith(("norm3.weight", "norm3.bias")):
            assert native_name(name) == name


def test_the_spelling_is_recognised():
    assert is_diffusers(["patch_embedding.weight", "blocks.0.attn1.to_q.weight"])
    assert is_diffusers(["condition_embedder.time_proj.weight"])
    assert is_diffusers(["blocks.0.ffn.net.0.proj.weight"])
    assert not is_diffusers(dit_names.manifest(CFG))
