"""What training on one frozen base starts from: a folder with base and adapter that were converted unmerged.

Teacher, critic and student begin as the adapter; the student goes on from any `trained_part` file.
"""

from dataclasses import asdict, replace
from pathlib import Path

import jax.numpy as jnp
from flax import nnx

from lipforcing_jax.distill.base import Base
from lipforcing_jax.errors import UserError
from lipforcing_jax.models.attention import Backend
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig, Preset
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.weights import converted, parts, stacked, trained_part
from lipforcing_jax.weights.converted import Places
from lipforcing_jax.weights.source import Source


def network_sizes(folder: Path) -> tuple[DiTConfig, LoRAConfig]:
    """Of base and adapter.

    Raises:
      UserError: the folder does not hold both, whole.
    """
    manifest = converted.parse_manifest(folder)
    missing = [part for part in (parts.BASE, parts.ADAPTER) if part not in manifest.parts]
    if missing:
        raise UserError(
            f"The folder {folder} holds no {' and no '.join(missing)}; make it by lipforcing convert --unmerged --base "
            "FILE --adapter FILE."
        )
    for part in (parts.BASE, parts.ADAPTER):
        converted.check_part(folder, manifest, part)
    return converted.config_of(manifest, parts.BASE), converted.config_of(manifest, parts.ADAPTER)


def fitted(preset: Preset, folder: Path, lora: LoRAConfig) -> Preset:
    """The preset at the sizes of the folder's base, which are its own unless they are nobody's.

    Raises:
      UserError: the folder belongs to another preset, or its adapter has another rank or scale than `lora`.
    """
    sizes, stored = network_sizes(folder)
    name = converted.parse_manifest(folder).preset
    if name not in (preset.name, "custom"):
        raise UserError(f"The weights in {folder} are those of {name}, not of {preset.name}; choose preset={name}.")
    if stored != lora:
        raise UserError(
            f"The adapter in {folder} has {_told(stored)}, the experiment says {_told(lora)}; make them equal by "
            "lora_rank and lora_alpha."
        )
    return replace(preset, dit=sizes)


def _told(lora: LoRAConfig) -> str:
    return " and ".join(f"{name} {value:g}" for name, value in asdict(lora).items())


def load_base(folder: Path, dtype=None, places: Places | None = None, attention: Backend = "xla") -> Base:
    """The structure of all roles' networks and what they share, in the precision in which it is stored.

    Args:
      dtype: in which the networks compute. places: as of `converted.load_part`. attention: as of `DiT`.

    Raises:
      UserError: base or adapter is missing or damaged.
    """
    cfg, lora = network_sizes(folder)
    model = nnx.eval_shape(lambda: DiT(cfg, lora=lora, dtype=dtype, attention=attention, rngs=nnx.Rngs(0)))
    abstract = nnx.from_flat_state(trained_part.abstract_frozen(cfg))
    return Base(nnx.graphdef(model), converted.load_state(folder, parts.BASE, abstract, places=places))


def load_adapter(folder: Path, places: Places | None = None) -> nnx.State:
    """The trained part that all roles start from, in float32, as optimisers need it.

    Raises:
      UserError: base or adapter is missing or damaged.
    """
    abstract = nnx.from_flat_state(trained_part.abstract_state(*network_sizes(folder)))
    return converted.load_state(folder, parts.ADAPTER, abstract, jnp.float32, places)


def load_decoder(folder: Path, dtype=None) -> TinyVAE:
    """TAEHV, which draws latents.

    Raises:
      UserError: it is missing or damaged.
    """
    vae = converted.config_of(converted.parse_manifest(folder), "taehv")
    return converted.load_part(folder, "taehv", lambda: TinyVAE(vae, dtype=dtype, rngs=nnx.Rngs(0)))


def sources(folder: Path) -> tuple[Source, Source, DiTConfig]:
    """Base and adapter as checkpoints under the reference's names, to be merged, and their sizes.

    Raises:
      UserError: base or adapter is missing or damaged.
    """
    cfg, lora = network_sizes(folder)
    abstract = {parts.BASE: trained_part.abstract_frozen(cfg), parts.ADAPTER: trained_part.abstract_state(cfg, lora)}
    base, adapter = (stacked.source(converted.place(folder, part), a, cfg) for part, a in abstract.items())
    return base, adapter, cfg
