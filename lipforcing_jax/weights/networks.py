"""The networks of a preset: nano's from the package or a folder of safetensors, the others' from a converted folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.attention import best_backend
from lipforcing_jax.models.audio import LogMelEncoder
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import PRESETS, Preset
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel import sharding
from lipforcing_jax.parallel.sharding import everywhere
from lipforcing_jax.sampling.codec import Codec, PairedCodec, TinyCodec, WanCodec
from lipforcing_jax.sampling.stream import Networks
from lipforcing_jax.weights import converted, store

FILES = {"dit": "student.safetensors", "vae": "tiny_vae.safetensors", "ear": "audio.safetensors"}
SYNC_NET = "syncnet.safetensors"
STEADY_MOUTH = "steady_mouth"
"""What a student's file says of itself, if it learnt so: `Preset.steady_mouth` holds for it."""
DECODERS = ("taehv", "wan")
FITS = {"student": "dit", "vae": "wan_vae", "taehv": "tiny_vae", "wav2vec2": "audio"}
"""Field of `Preset` that each part of a converted folder fills."""


class Loaded(NamedTuple):
    """A preset as its weights have it.

    `wav2vec2` hears the sound where the stream does not; the hash of `files` names the weights; over `mesh`, if any,
    the networks lie.
    """

    preset: Preset
    networks: Networks
    wav2vec2: Wav2Vec2 | None
    files: list[Path]
    mesh: Mesh | None


def bundled_folder(preset: Preset) -> Path:
    """Where the package keeps the weights of `preset`, if it has them."""
    return Path(str(resources.files("lipforcing_jax") / "assets" / preset.name))


def find(name: str) -> Preset:
    """The preset called `name`.

    Raises:
      UserError: there is none of that name.
    """
    if name not in PRESETS:
        raise UserError(f"Unknown preset {name!r}; the presets are {', '.join(PRESETS)} (see lipforcing info).")
    return PRESETS[name]


def new_dit(preset: Preset, seed: int = 0) -> DiT:
    """A diffusion network of nano's kind that has learnt nothing."""
    return DiT(preset.dit, attention=best_backend(jax.default_backend()), rngs=nnx.Rngs(seed))


@cache
def makers(preset: Preset) -> Mapping[str, Callable[[], nnx.Module]]:
    """How each network of nano is declared, by the name of its file in `FILES`; the same functions at every call."""
    return MappingProxyType({
        "dit": lambda: new_dit(preset),
        "vae": lambda: TinyVAE(preset.tiny_vae, rngs=nnx.Rngs(0)),
        "ear": lambda: LogMelEncoder(preset.audio, rngs=nnx.Rngs(0)),
    })  # fmt: skip


@cache
def sync_net_maker(preset: Preset) -> Callable[[], SyncNet]:
    """How nano's judge is declared; the same function at every call."""
    return lambda: SyncNet(preset.sync_net, rngs=nnx.Rngs(0))


def load_sync_net(preset: Preset, folder: Path | None = None) -> SyncNet:
    """The judge of a preset from `folder`, or from the package: what rewards stage 2 and scores results.

    Raises:
      UserError: there is none, or it is damaged or of another size.
    """
    if not preset.hears_samples:
        if folder is None:
            raise UserError(f"The preset {preset.name} has no bundled SyncNet; give converted weights by --weights.")
        cfg = converted.config_of(converted.read_manifest(folder), "syncnet")
        return converted.load_part(folder, "syncnet", lambda: SyncNet(cfg, rngs=nnx.Rngs(0)))
    folder = bundled_folder(preset) if folder is None else folder
    return store.load_module(folder / SYNC_NET, sync_net_maker(preset))


def assemble(preset: Preset, dit: DiT, vae: TinyVAE, ear: LogMelEncoder) -> Networks:
    """The stream's networks of a preset without a text encoder: its one prompt is zero."""
    return Networks(dit, TinyCodec(vae), ear, jnp.zeros((1, preset.dit.text_len, preset.dit.text_dim)))


def load(preset: Preset, folder: Path | None = None, decoder: str | None = None, devices: int = 1) -> Loaded:
    """Networks of `preset` from `folder`, or from the package.

    Args:
      decoder: what draws a converted preset's pictures, one of `DECODERS`; None takes the first that is there.
      devices: among how many of this process's devices the student is cut; of the other networks each has all.

    Raises:
      UserError: the preset has no bundled weights and no folder is given; parts are missing, damaged or of another
        size; the decoder is unknown or not for this preset; there are fewer devices or they do not divide the heads.
    """
    if decoder is not None and decoder not in DECODERS:
        raise UserError(f"Unknown decoder {decoder!r}; there are {' and '.join(DECODERS)}.")
    if not preset.hears_samples:
        return load_converted(preset, folder, decoder, devices)
    if decoder is not None:
        raise UserError(f"The preset {preset.name} has one decoder of its own; leave --decoder away.")
    folder = bundled_folder(preset) if folder is None else folder
    mesh = meshes.for_stream(devices, preset.dit.num_heads)
    parts = {part: store.load_module(folder / FILES[part], make) for part, make in makers(preset).items()}
    preset = replace(preset, steady_mouth=STEADY_MOUTH in store.read_metadata(folder / FILES["dit"]))
    networks = assemble(preset, **parts)
    if mesh is not None:
        places = everywhere(networks, mesh)._replace(dit=sharding.shardings(networks.dit, mesh, "serve"))
        networks = jax.device_put(networks, places)
    return Loaded(preset, networks, None, [folder / name for name in FILES.values()], mesh)


def load_converted(preset: Preset, folder: Path | None, decoder: str | None, devices: int) -> Loaded:
    """The same from a folder that `lipforcing convert` made. The sizes are those of the folder."""
    if folder is None:
        raise UserError(
            f"The preset {preset.name} has no bundled weights; give a folder with converted ones by --weights "
            "(see lipforcing convert)."
        )
    manifest = converted.read_manifest(folder)
    if manifest.preset not in (preset.name, "custom"):
        raise UserError(f"The weights in {folder} are those of {manifest.preset}; choose --preset {manifest.preset}.")
    decoder = decoder or next((name for name in DECODERS if _part(name) in manifest.parts), DECODERS[0])
    needed = dict.fromkeys(("student", "vae", _part(decoder), "wav2vec2", "text"))
    missing = [part for part in needed if part not in manifest.parts]
    if missing:
        raise UserError(
            f"The folder {folder} lacks {' and '.join(missing)}; add what is missing by lipforcing convert, whose "
            "options are named alike."
        )
    sizes = {FITS[part]: converted.config_of(manifest, part) for part in needed if part in FITS}
    preset = _with_sizes(preset, sizes, folder)
    dtype, attention = compute_dtype(), best_backend(jax.default_backend())
    make = {
        "student": lambda: DiT(preset.dit, dtype=dtype, attention=attention, rngs=nnx.Rngs(0)),
        "vae": lambda: WanVAE(preset.wan_vae, dtype=dtype, rngs=nnx.Rngs(0)),
        "taehv": lambda: TinyVAE(preset.tiny_vae, dtype=dtype, rngs=nnx.Rngs(0)),
        "wav2vec2": lambda: Wav2Vec2(preset.audio, rngs=nnx.Rngs(0)),
    }
    mesh = meshes.for_stream(devices, preset.dit.num_heads)
    places = {}
    if mesh is not None:
        # The sound is heard by one device, before the step.
        places = dict.fromkeys(("vae", "taehv"), partial(everywhere, mesh=mesh))
        places["student"] = partial(sharding.shardings, mesh=mesh, regime="serve")
    parts = {p: converted.load_part(folder, p, make[p], places=places.get(p)) for p in needed if p in make}
    codec: Codec = WanCodec(parts["vae"])
    if decoder == "taehv":
        codec = PairedCodec(codec, TinyCodec(parts["taehv"]))
    text = jnp.asarray(converted.load_text(folder))
    # The manifest holds the hashes of all files that the parts were converted from.
    files = [folder / converted.MANIFEST]
    return Loaded(preset, Networks(parts["student"], codec, None, text), parts["wav2vec2"], files, mesh)


def compute_dtype() -> jnp.dtype:
    """bfloat16 on accelerators, as the reference; float32 on CPUs, which have no fast bfloat16."""
    return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)


def _part(decoder: str) -> str:
    """The part of a converted folder that holds a decoder."""
    return "vae" if decoder == "wan" else decoder


def _with_sizes(preset: Preset, sizes: dict, folder: Path) -> Preset:
    """The preset at the sizes of the folder's networks, which must fit each other."""
    preset = replace(preset, **sizes)
    if preset.dit.audio_dim != preset.audio.features:
        raise UserError(
            f"The weights in {folder} do not belong together: the student hears {preset.dit.audio_dim} numbers a "
            f"frame, wav2vec2 gives {preset.audio.features}."
        )
    channels = {preset.dit.latent_channels, preset.wan_vae.latent_channels, preset.tiny_vae.latent_channels}
    if len(channels) > 1:
        raise UserError(f"The weights in {folder} do not belong together: their latents have {channels} channels.")
    return preset
