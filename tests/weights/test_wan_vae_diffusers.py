"""The autoencoder's keys in diffusers' spelling."""

import pytest

from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.weights import wan_vae_names
from lipforcing_jax.weights.wan_vae_diffusers import is_diffusers, native_name

CFG = WanVAEConfig(dim=8)


@pytest.mark.parametrize("theirs, native", [
    ("encoder.conv_in.bias", "encoder.conv1.bias"),
    ("encoder.down_blocks.3.conv_shortcut.weight", "encoder.downsamples.3.shortcut.weight"),
    ("encoder.down_blocks.5.time_conv.weight", "encoder.downsamples.5.time_conv.weight"),
    ("encoder.mid_block.resnets.1.norm2.gamma", "encoder.middle.2.residual.3.gamma"),
    ("decoder.mid_block.attentions.0.norm.gamma", "decoder.middle.1.norm.gamma"),
    ("decoder.up_blocks.1.resnets.2.conv1.weight", "decoder.upsamples.6.residual.2.weight"),
    ("decoder.up_blocks.1.upsamplers.0.resample.1.bias", "decoder.upsamples.7.resample.1.bias"),
    ("decoder.norm_out.gamma", "decoder.head.0.gamma"),
    ("quant_conv.weight", "conv1.weight"),
    ("post_quant_conv.weight", "conv2.weight"),
])  # fmt: skip
def test_keys(theirs, native):
    assert native_name(theirs) == native


def test_native_keys_stay_as_they_are():
    names = wan_vae_names.manifest(CFG)
    assert [native_name(name) for name in names] == list(names) and not is_diffusers(names)


@pytest.mark.parametrize("blocks", [1, 2])
def test_all_keys_and_shapes_of_the_library(blocks):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    cfg = WanVAEConfig(dim=8, num_res_blocks=blocks)
    with torch.device("meta"):
        peer = diffusers.AutoencoderKLWan(base_dim=8, num_res_blocks=blocks).state_dict()
    assert is_diffusers(peer)
    assert {native_name(n, blocks): tuple(v.shape) for n, v in peer.items()} == wan_vae_names.manifest(cfg)
