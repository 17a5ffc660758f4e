"""The networks of a preset from a folder of weights; nano's come with the package."""

from importlib import resources
from pathlib import Path

import jax.numpy as jnp
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.audio import LogMelEncoder
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import PRESETS, Preset
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.sampling.codec import TinyCodec
from lipforcing_jax.sampling.stream import Networks
from lipforcing_jax.weights import store

FILES = {"dit": "student.safetensors", "vae": "tiny_vae.safetensors", "ear": "audio.safetensors"}


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


def makers(preset: Preset) -> dict[str, object]:
    """How each network of a preset is declared, by the name of its file in `FILES`."""
    return {
        "dit": lambda: DiT(preset.dit, rngs=nnx.Rngs(0)),
        "vae": lambda: TinyVAE(preset.tiny_vae, rngs=nnx.Rngs(0)),
        "ear": lambda: LogMelEncoder(preset.audio, rngs=nnx.Rngs(0)),
    }


def assemble(preset: Preset, dit: DiT, vae: TinyVAE, ear: LogMelEncoder) -> Networks:
    """The stream's networks of a preset without a text encoder: its one prompt is zero."""
    return Networks(dit, TinyCodec(vae), ear, jnp.zeros((1, preset.dit.text_len, preset.dit.text_dim)))


def load(preset: Preset, folder: Path | None = None) -> Networks:
    """Networks of `preset` from `folder`, or from the package.

    Raises:
      UserError: the preset has no bundled weights and no folder is given, or files are missing or damaged.
    """
    if folder is None and preset.audio is None:
        raise UserError(
            f"The preset {preset.name} has no bundled weights; give a folder with converted ones by --weights."
        )
    if preset.audio is None:
        raise UserError(f"The preset {preset.name} can't run yet: its audio and text encoders are not in this version.")
    folder = bundled_folder(preset) if folder is None else folder
    parts = {part: store.load_module(folder / FILES[part], make) for part, make in makers(preset).items()}
    return assemble(preset, **parts)


def files(preset: Preset, folder: Path | None = None) -> list[Path]:
    """The weight files that `load` reads."""
    folder = bundled_folder(preset) if folder is None else folder
    return [folder / name for name in FILES.values()]
