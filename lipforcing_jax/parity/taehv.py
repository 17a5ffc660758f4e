"""TAEHV beside PyTorch.

No package on the index has this network, so the peer is spelled out here from the published list of its layers (spec
inference 6.7, training 4), in PyTorch's layout and under the names of `taew2_1.pth`, without any of our code.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from flax import nnx
from torch import nn

from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import tiny_vae_names
from lipforcing_jax.weights.recipe import component_weight, normal

PEER = "torch, by the spec"
SMALL = TinyVAEConfig(encoder_stem=16, encoder_widths=(16, 16, 16), decoder_widths=(64, 32, 16), decoder_tail=16)
FLOAT32 = 1e-5
"""Up to forty convolutions and two frameworks' orders of summation; measured 3e-6."""
BFLOAT16 = 3e-2
"""Of the largest value; the peer's own bfloat16 run is off by about 1e-2."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """A narrow network in float32 and in bfloat16; with `full_width` also the released one."""
    yield from compare_network("taehv", SMALL, frames=12, size=32)
    yield from bfloat16_drift(SMALL, frames=12, size=32)
    if full_width:
        yield from compare_network("taehv, whole", TinyVAEConfig(), frames=12, size=64)


def inputs(cfg: TinyVAEConfig, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A video [1, v, h, w, 3] in [0, 1] and unrelated latents [1, t, h, w, c]."""
    video = np.clip(0.5 + 0.25 * normal("input:parity.video", (1, frames, size, size, 3)), 0, 1)
    shape = (1, frames // 4, size // cfg.space_factor, size // cfg.space_factor, cfg.latent_channels)
    return video.astype(np.float32), normal("input:parity.latent", shape).astype(np.float32)


class Clamp(nn.Module):
    """Squeezes latents softly into [-3, 3]."""

    def forward(self, x):
        return 3 * torch.tanh(x / 3)


class MemBlock(nn.Module):
    """Three convolutions over a frame and the one before it. All frames [t, c, h, w] at once."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Sequential(conv(2 * width, width), nn.ReLU(), conv(width, width), nn.ReLU(), conv(width, width))

    def forward(self, x):
        past = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]
        return F.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class TPool(nn.Module):
    """Two frames, or one, to one."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width * stride, width, 1, bias=False)

    def forward(self, x):
        return self.conv(x.reshape(-1, self.stride * x.shape[1], *x.shape[2:]))


class TGrow(nn.Module):
    """One frame to two, or one."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x):
        return self.conv(x).reshape(-1, x.shape[1], *x.shape[2:])


def conv(width_in: int, width_out: int, **options) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1, **options)


class Peer(nn.Module):
    """The published lists of layers, three stages each, for clips without a batch."""

    def __init__(self, cfg: TinyVAEConfig):
        super().__init__()
        stem, (a, b, c) = cfg.encoder_stem, cfg.encoder_widths
        self.encoder = nn.Sequential(
            conv(3, stem), nn.ReLU(),
            TPool(stem, 2), conv(stem, a, stride=2, bias=False), MemBlock(a), MemBlock(a), MemBlock(a),
            TPool(a, 2), conv(a, b, stride=2, bias=False), MemBlock(b), MemBlock(b), MemBlock(b),
            TPool(b, 1), conv(b, c, stride=2, bias=False), MemBlock(c), MemBlock(c), MemBlock(c),
            conv(c, cfg.latent_channels),
        )  # fmt: skip
        (a, b, c), tail = cfg.decoder_widths, cfg.decoder_tail
        self.decoder = nn.Sequential(
            Clamp(), conv(cfg.latent_channels, a), nn.ReLU(),
            MemBlock(a), MemBlock(a), MemBlock(a), nn.Upsample(scale_factor=2), TGrow(a, 1), conv(a, b, bias=False),
            MemBlock(b), MemBlock(b), MemBlock(b), nn.Upsample(scale_factor=2), TGrow(b, 2), conv(b, c, bias=False),
            MemBlock(c), MemBlock(c), MemBlock(c), nn.Upsample(scale_factor=2), TGrow(c, 2), conv(c, tail, bias=False),
            nn.ReLU(), conv(tail, 3),
        )  # fmt: skip


def build_peer(cfg: TinyVAEConfig) -> tuple[Peer, dict[str, np.ndarray]]:
    """The peer on the recipe's weights, and these by name."""
    model = Peer(cfg).eval()
    tensors = {name: component_weight(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return model, tensors


def run_peer(model: Peer, video: np.ndarray, latents: np.ndarray, dtype=torch.float32) -> list[np.ndarray]:
    """Latents of the video, and frames of the latents, not clamped."""
    model = model.to(dtype)
    first = lambda x: torch.from_numpy(x[0]).permute(0, 3, 1, 2).to(dtype)  # noqa: E731
    with torch.no_grad():
        found = model.encoder(first(video)), model.decoder(first(latents))
    return [x.float().permute(0, 2, 3, 1)[None].numpy() for x in found]


def run_ours(cfg: TinyVAEConfig, tensors: dict, video, latents, dtype=jnp.float32) -> list[np.ndarray]:
    """The same from our network."""
    state = tiny_vae_names.from_reference(tensors.__getitem__, cfg)
    state = jax.tree.map(lambda value: jnp.asarray(value, dtype), state)
    abstract = nnx.eval_shape(lambda: TinyVAE(cfg, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(0)))
    vae = nnx.merge(nnx.graphdef(abstract), state)
    found = []
    for half, x in ((vae.encoder, video), (vae.decoder, latents)):
        memory = half.memory(1, *x.shape[2:4], dtype)
        found.append(nnx.jit(lambda half, x, memory: half(x, memory)[0])(half, jnp.asarray(x, dtype), memory))
    return [np.asarray(x, np.float32) for x in found]


def compare_network(name: str, cfg: TinyVAEConfig, frames: int, size: int) -> Iterator[Row]:
    """Encoder and decoder in float32, whole clip."""
    given, (model, tensors) = inputs(cfg, frames, size), build_peer(cfg)
    ours, theirs = run_ours(cfg, tensors, *given), run_peer(model, *given)
    for i, array in enumerate(("latents", "frames")):
        yield compare(name, array, PEER, ours[i], theirs[i], FLOAT32)


def bfloat16_drift(cfg: TinyVAEConfig, frames: int, size: int) -> Iterator[Row]:
    """How far we stray in bfloat16 from float32, beside how far the peer does."""
    given, (model, tensors) = inputs(cfg, frames, size), build_peer(cfg)
    exact, theirs = run_peer(model, *given), run_peer(model, *given, torch.bfloat16)
    ours = run_ours(cfg, tensors, *given, jnp.bfloat16)
    for i, array in enumerate(("latents", "frames")):
        drift = np.abs(theirs[i] - exact[i]).max() / np.abs(exact[i]).max()
        note = f"the peer's own drift is {drift:.1e}"
        yield compare("taehv, bfloat16", array, f"{PEER}, float32", ours[i], exact[i], BFLOAT16, note)
