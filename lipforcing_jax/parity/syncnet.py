"""SyncNet and its cepstra beside PyTorch and `python_speech_features`.

No package on the index has this network, so the peer is spelled out here from the published table of its layers
(spec training 3.3), in PyTorch's layout and under the names of `syncnet_v2.model`, without any of our code.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import python_speech_features
import torch
import torch.nn.functional as F  # noqa: N812
from flax import nnx
from torch import nn

from lipforcing_jax.media.mfcc import mfcc
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.sync_distance import MAX_SHIFT, shift_distances
from lipforcing_jax.models.syncnet import SyncNet, prepare_frames
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import syncnet_names
from lipforcing_jax.weights.recipe import component_weight, generator

PEER = "torch, by the spec"
SMALL = SyncNetConfig((12, 32, 32, 32, 32, 64), (8, 24, 48, 32, 32, 64), hidden=64, embedding=128)
FRAMES, SIZE = 24, 96
"""Frames and side of the pictures; 24 frames give 19 pairs of windows, 16 is the least that all shifts need."""
FLOAT32 = 1e-5
"""Eight layers and two frameworks' orders of summation, relative to the largest value; measured 1.4e-6."""
FLOAT64 = 1e-9
"""The cepstra are float64 on both sides; the logarithm of a nearly silent band magnifies rounding."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """Cepstra and a narrow network; with `full_width` also the published one."""
    wave = sound()
    theirs = python_speech_features.mfcc(wave, 16000)
    yield compare("syncnet", "cepstra", "python_speech_features", mfcc(wave), theirs, FLOAT64)
    yield from compare_network("syncnet", SMALL)
    if full_width:
        yield from compare_network("syncnet, whole", SyncNetConfig())


def sound() -> np.ndarray:
    """Noise that comes and goes, with exact silence at its end, as float32 of 16-bit size."""
    length = FRAMES * 640
    swell = np.maximum(0, np.sin(np.linspace(0, 9, length)))
    swell[-2000:] = 0
    return (3000 * swell * generator("input:parity.sound").standard_normal(length)).astype(np.float32)


def pictures() -> np.ndarray:
    """RGB frames [t, s, s, 3] in [0, 255], whole levels as float32."""
    return generator("input:parity.faces").integers(0, 256, (FRAMES, SIZE, SIZE, 3)).astype(np.float32)


class Peer(nn.Module):
    """The published layers; members are called as in the published file."""

    def __init__(self, cfg: SyncNetConfig):
        super().__init__()
        self.netcnnlip, self.netcnnaud = face_tower(*cfg.face_widths), sound_tower(*cfg.sound_widths)
        self.netfclip, self.netfcaud = (
            nn.Sequential(nn.Linear(w, cfg.hidden), nn.BatchNorm1d(cfg.hidden), nn.ReLU(),
                          nn.Linear(cfg.hidden, cfg.embedding))
            for w in (cfg.face_widths[-1], cfg.sound_widths[-1])
        )  # fmt: skip

    def faces(self, levels: torch.Tensor) -> torch.Tensor:
        """Embeddings of every five of the frames [t, 3, h, w]."""
        small = F.interpolate(levels.flip(1), size=(224, 224), mode="bilinear", align_corners=False)
        windows = small.unfold(0, 5, 1).permute(0, 1, 4, 2, 3)
        return self.netfclip(self.netcnnlip(windows).flatten(1))

    def sounds(self, cepstra: torch.Tensor) -> torch.Tensor:
        """Embeddings of every twenty of the rows [m, 13], four rows apart."""
        return self.netfcaud(self.netcnnaud(cepstra.unfold(0, 20, 4)[:, None]).flatten(1))


def face_tower(a: int, b: int, c: int, d: int, e: int, f: int) -> nn.Sequential:
    side = {"padding": (0, 1, 1)}
    half = {"kernel_size": (1, 3, 3), "stride": (1, 2, 2)}
    return nn.Sequential(
        nn.Conv3d(3, a, (5, 7, 7), (1, 2, 2)), nn.BatchNorm3d(a), nn.ReLU(), nn.MaxPool3d(**half),
        nn.Conv3d(a, b, (1, 5, 5), (1, 2, 2), **side), nn.BatchNorm3d(b), nn.ReLU(), nn.MaxPool3d(**half, **side),
        nn.Conv3d(b, c, (1, 3, 3), **side), nn.BatchNorm3d(c), nn.ReLU(),
        nn.Conv3d(c, d, (1, 3, 3), **side), nn.BatchNorm3d(d), nn.ReLU(),
        nn.Conv3d(d, e, (1, 3, 3), **side), nn.BatchNorm3d(e), nn.ReLU(), nn.MaxPool3d(**half),
        nn.Conv3d(e, f, (1, 6, 6)), nn.BatchNorm3d(f), nn.ReLU(),
    )  # fmt: skip


def sound_tower(a: int, b: int, c: int, d: int, e: int, f: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, a, 3, padding=1), nn.BatchNorm2d(a), nn.ReLU(), nn.MaxPool2d(1, 1),
        nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(3, (1, 2)),
        nn.Conv2d(b, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1), nn.BatchNorm2d(d), nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1), nn.BatchNorm2d(e), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(e, f, (5, 4)), nn.BatchNorm2d(f), nn.ReLU(),
    )  # fmt: skip


def peer_distances(faces: torch.Tensor, sounds: torch.Tensor, zero_padded: bool) -> np.ndarray:
    """Mean distances of all shifts, shift by shift."""
    pairs, found = min(len(faces), len(sounds)), []
    faces, sounds = faces[:pairs], sounds[:pairs]
    padded = F.pad(sounds, (0, 0, MAX_SHIFT, MAX_SHIFT))
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        if zero_padded:
            begin = shift + MAX_SHIFT
            found.append(F.pairwise_distance(faces, padded[begin : begin + pairs]).mean())
        else:
            first, last = max(0, -shift), min(pairs, pairs - shift)
            found.append(F.pairwise_distance(faces[first:last], sounds[first + shift : last + shift]).mean())
    return np.array(found)


def run_peer(cfg: SyncNetConfig, levels: np.ndarray, cepstra: np.ndarray) -> tuple[dict, list[np.ndarray]]:
    """The peer's tensors by name, and its embeddings and distances."""
    model = Peer(cfg).eval()
    tensors = {name: component_weight(name, tuple(value.shape)) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    with torch.no_grad():
        faces = model.faces(torch.from_numpy(levels).permute(0, 3, 1, 2))
        sounds = model.sounds(torch.from_numpy(cepstra))
    distances = [peer_distances(faces, sounds, zero_padded) for zero_padded in (False, True)]
    return tensors, [faces.numpy(), sounds.numpy(), *distances]


def run_ours(cfg: SyncNetConfig, tensors: dict, levels: np.ndarray, cepstra: np.ndarray) -> list[jax.Array]:
    """The same from our network."""
    state = jax.tree.map(jnp.asarray, syncnet_names.from_reference(tensors.__getitem__, cfg))
    model = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: SyncNet(cfg, rngs=nnx.Rngs(0)))), state)
    faces = nnx.jit(lambda m, levels: m.embed_faces(prepare_frames(levels, cfg)))(model, levels)
    sounds = nnx.jit(lambda m, cepstra: m.embed_sound(cepstra))(model, cepstra)
    return [faces, sounds, *(shift_distances(faces, sounds, zero_padded=form) for form in (False, True))]


def compare_network(name: str, cfg: SyncNetConfig) -> Iterator[Row]:
    """Both embeddings, and the distances in the scorer's and in the published evaluation's form."""
    given = pictures(), mfcc(sound()).astype(np.float32)
    tensors, theirs = run_peer(cfg, *given)
    arrays = ("face embeddings", "sound embeddings", "distances", "distances, zero-padded")
    for array, our, their in zip(arrays, run_ours(cfg, tensors, *given), theirs, strict=True):
        yield compare(name, array, PEER, our, their, FLOAT32)
