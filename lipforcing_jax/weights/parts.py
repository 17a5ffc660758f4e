"""The networks that a folder of converted weights may hold, by the names of its parts."""

from dataclasses import dataclass, fields
from types import ModuleType

from flax import nnx

from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import (
    PRESETS,
    DiTConfig,
    LoRAConfig,
    SyncNetConfig,
    TinyVAEConfig,
    WanVAEConfig,
    Wav2Vec2Config,
)
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.weights import dit_names, syncnet_names, tiny_vae_names, wan_vae_names, wav2vec2_names


@dataclass(frozen=True)
class Network:
    """How one network is declared and what its reference calls it."""

    title: str
    config: type
    module: type[nnx.Module]
    names: ModuleType
    """Its `*_names.py`: `manifest`, `from_reference`, `export`."""
    ignored: tuple[str, ...] = ()
    """Beginnings of keys that published files hold beside the network."""


@dataclass(frozen=True)
class TextConfig:
    """The embedding [1, text_len, text_dim] of a prompt, None where somebody else has encoded it."""

    prompt: str | None
    text_len: int
    text_dim: int


NETWORKS = {
    "student": Network("a Wan student with sound", DiTConfig, DiT, dit_names),
    "vae": Network("a Wan video autoencoder", WanVAEConfig, WanVAE, wan_vae_names),
    "taehv": Network("TAEHV (taew2_1)", TinyVAEConfig, TinyVAE, tiny_vae_names),
    "wav2vec2": Network("wav2vec2-base", Wav2Vec2Config, Wav2Vec2, wav2vec2_names, wav2vec2_names.IGNORED),
    "syncnet": Network("SyncNet (syncnet_v2)", SyncNetConfig, SyncNet, syncnet_names, syncnet_names.IGNORED),
}
TEXT = "text"
BASE, ADAPTER = "base", "adapter"
"""A student that is not merged: what all roles of a training share, and where their trained parts start."""

CONFIGS = {name: network.config for name, network in NETWORKS.items()}
CONFIGS |= {BASE: DiTConfig, ADAPTER: LoRAConfig, TEXT: TextConfig}


def config_from(part: str, values: dict):
    """The dataclass of a part from the dictionary in a manifest.

    Raises:
      TypeError, KeyError: the dictionary is not that of this part.
    """
    kind = CONFIGS[part]
    if set(values) != {f.name for f in fields(kind)}:
        raise TypeError(f"these are not the sizes of {part}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def preset_name(configs: dict) -> str:
    """The preset that all given parts have the sizes of, and "custom" if there is none or no student is among them.

    An adapter's rank is no size of a preset.
    """
    prompt, adapter = configs[TEXT].prompt if TEXT in configs else None, configs.get(ADAPTER)
    for preset in PRESETS.values():
        sizes = {
            "student": preset.dit, "vae": preset.wan_vae, "taehv": preset.tiny_vae, "wav2vec2": preset.audio,
            "syncnet": SyncNetConfig(), TEXT: TextConfig(prompt, preset.dit.text_len, preset.dit.text_dim),
            BASE: preset.dit, ADAPTER: adapter,
        }  # fmt: skip
        if {"student", BASE} & configs.keys() and all(config == sizes[part] for part, config in configs.items()):
            return preset.name
    return "custom"
