"""Sample checkpoints: the release's files in their own layout, at any size, with weights that follow from their names.

Tests and benchmarks convert and run them; the pictures are noise, but every tensor has the name, the shape, the kind
of numbers and the container that the published file has. One tensor is in memory at a time.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from lipforcing_jax.models.presets import (
    PRESETS,
    DiTConfig,
    LoRAConfig,
    SyncNetConfig,
    TinyVAEConfig,
    UMT5Config,
    WanVAEConfig,
    Wav2Vec2Config,
)
from lipforcing_jax.weights import (
    dit_names,
    lora_names,
    recipe,
    safetensors_file,
    syncnet_names,
    tiny_vae_names,
    torch_writer,
    umt5_names,
    wan_vae_names,
    wav2vec2_names,
)
from lipforcing_jax.weights.convert import Inputs
from lipforcing_jax.weights.export import hugging_face_config

BFLOAT16, FLOAT16, FLOAT32 = (np.dtype(kind) for kind in (ml_dtypes.bfloat16, np.float16, np.float32))
BASE_CHANNELS = 16
"""What the base network sees: the noisy latents alone."""
WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "person": 4, "talking": 5}
LETTERS = 32
"""Outputs of wav2vec2's head for transcription."""
SHARD = "diffusion_pytorch_model"

Shapes = dict[str, tuple[int, ...]]
Weight = Callable[[str, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Sizes:
    """Sizes of all networks of a release."""

    student: DiTConfig
    vae: WanVAEConfig = WanVAEConfig()
    taehv: TinyVAEConfig = TinyVAEConfig()
    wav2vec2: Wav2Vec2Config = Wav2Vec2Config()
    text: UMT5Config = UMT5Config()
    syncnet: SyncNetConfig = SyncNetConfig()
    lora: LoRAConfig = LoRAConfig()


def published(preset: str) -> Sizes:
    """The sizes of a preset with a Wan student, such as "14b"."""
    return Sizes(PRESETS[preset].dit)


def small() -> Sizes:
    """Narrow networks of the same make, whose sizes fit each other: a release of 20 MB that a CPU runs."""
    ear = Wav2Vec2Config(hidden_size=64, num_layers=2, num_heads=1, intermediate_size=128, conv_dim=(32,) * 7)
    return Sizes(
        student=DiTConfig(256, 2, 384, 6, text_dim=64, audio_dim=ear.features),
        vae=WanVAEConfig(dim=4),
        taehv=TinyVAEConfig(
            encoder_stem=16, encoder_widths=(16, 16, 16), decoder_widths=(32, 16, 16), decoder_tail=16
        ),
        wav2vec2=ear,
        text=UMT5Config(vocab=64, dim=64, ffn_dim=96, num_heads=4, head_dim=16, num_layers=2),
        syncnet=SyncNetConfig((8, 16, 16, 16, 16, 32), (8, 16, 16, 16, 16, 32), hidden=32, embedding=64),
        lora=LoRAConfig(rank=8, alpha=4.0),
    )


def write_release(folder: Path, sizes: Sizes, encoder: bool = False) -> Inputs:
    """Writes what running a released student takes, and SyncNet; returns what to convert.

    The text is a stored embedding, or the `encoder` that makes one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text = write_text_encoder if encoder else write_text_embedding
    return Inputs(
        student=write_student(folder / "lipforcing_14b.pth", sizes.student),
        vae=write_vae(folder / "Wan2.1_VAE.pth", sizes.vae),
        taehv=write_taehv(folder / "taew2_1.pth", sizes.taehv),
        wav2vec2=write_wav2vec2(folder / "wav2vec2-base-960h", sizes.wav2vec2),
        text=write_text(folder / ("models_t5_umt5-xxl-enc-bf16.pth" if encoder else "text_emb.pt"), sizes.text),
        syncnet=write_syncnet(folder / "syncnet_v2.model", sizes.syncnet),
    )


def write_parts(folder: Path, sizes: Sizes, shards: int = 6) -> Inputs:
    """Writes a student that is not merged: base, adapter and delta (spec network 5.3); returns what to convert."""
    folder.mkdir(parents=True, exist_ok=True)
    return Inputs(
        base=write_base(folder / "base", sizes.student, shards),
        adapter=write_adapter(folder / "omniavatar_ls_14b.pt", sizes.student, sizes.lora),
        delta=write_delta(folder / "0000600.pth", sizes.student, sizes.lora),
    )


# -- the student -------------------------------------------------------------------------------------------------------


def write_student(path: Path, cfg: DiTConfig) -> Path:
    """The merged student: one flat dictionary with bare keys, bfloat16 (spec network 5.5)."""
    return _write(path, dit_names.manifest(cfg), BFLOAT16, recipe.diffusion_weight)


def write_base(folder: Path, cfg: DiTConfig, shards: int = 6) -> Path:
    """The Wan network without sound, float32 safetensors: one file, or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {n: s for n, s in dit_names.manifest(cfg).items() if not n.startswith("audio_")}
    dim, _, *patch = shapes["patch_embedding.weight"]
    shapes["patch_embedding.weight"] = (dim, BASE_CHANNELS, *patch)
    groups = _divided(shapes, shards)
    names = [f"{SHARD}-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)]
    names = names if shards > 1 else [f"{SHARD}.safetensors"]
    for name, group in zip(names, groups, strict=True):
        _write(folder / name, group, FLOAT32, recipe.diffusion_weight)
    if shards > 1:
        where = {key: name for name, group in zip(names, groups, strict=True) for key in group}
        index = {"metadata": {"total_size": 4 * sum(map(_count, shapes.values()))}, "weight_map": where}
        (folder / f"{SHARD}.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder


def _divided(shapes: Shapes, count: int) -> list[Shapes]:
    """The tensors in order, in groups of about the same number of values."""
    total, seen, groups = sum(map(_count, shapes.values())), 0, [{} for _ in range(count)]
    for name, shape in shapes.items():
        groups[seen * count // total][name] = shape
        seen += _count(shape)
    return groups


def write_adapter(path: Path, cfg: DiTConfig, lora: LoRAConfig) -> Path:
    """The sound adapter: low-rank pairs, sound layers and the wide patch embedding, flat, bfloat16."""
    shapes = lora_names.manifest(cfg, lora) | _replaced(cfg)
    return _write(path, shapes, BFLOAT16, lambda name, shape: recipe.diffusion_weight(name, shape, "adapter."))


def write_delta(path: Path, cfg: DiTConfig, lora: LoRAConfig) -> Path:
    """What distillation trained: the same tensors, `_core.` before every name, pairs as PEFT names them, wrapped."""
    shapes = lora_names.manifest(cfg, lora, "injected") | _replaced(cfg)
    shapes = {f"_core.{name}": shape for name, shape in shapes.items()}
    weight = lambda name, shape: recipe.diffusion_weight(name, shape, "delta.")  # noqa: E731
    return _write(path, shapes, FLOAT32, weight, wrappers=("model", "net"))


def _replaced(cfg: DiTConfig) -> Shapes:
    """The tensors of a student that stand in the place of the base's."""
    return {n: s for n, s in dit_names.manifest(cfg).items() if n.startswith(("audio_", "patch_embedding."))}


# -- the other networks ------------------------------------------------------------------------------------------------


def write_vae(path: Path, cfg: WanVAEConfig) -> Path:
    """`Wan2.1_VAE.pth`, float32."""
    return _write(path, wan_vae_names.manifest(cfg), FLOAT32, recipe.component_weight)


def write_taehv(path: Path, cfg: TinyVAEConfig) -> Path:
    """`taew2_1.pth`, float16."""
    return _write(path, tiny_vae_names.manifest(cfg), FLOAT16, recipe.component_weight)


def write_syncnet(path: Path, cfg: SyncNetConfig) -> Path:
    """`syncnet_v2.model`, float32, in the format of its time."""
    shapes = syncnet_names.manifest(cfg)
    values = {name: (shape, FLOAT32) for name, shape in shapes.items()}
    values |= {name: ((), np.dtype(np.int64)) for name in syncnet_names.IGNORED}
    torch_writer.write_legacy(path, values, lambda name: _weight(name, *values[name], recipe.component_weight))
    return path


def write_wav2vec2(folder: Path, cfg: Wav2Vec2Config) -> Path:
    """The folder of `wav2vec2-base-960h`: float32 safetensors with a head for transcription, and the sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {f"wav2vec2.{name}": shape for name, shape in wav2vec2_names.manifest(cfg).items()}
    shapes |= {"wav2vec2.masked_spec_embed": (cfg.hidden_size,)}
    shapes |= {"lm_head.weight": (LETTERS, cfg.hidden_size), "lm_head.bias": (LETTERS,)}
    _write(folder / "model.safetensors", shapes, FLOAT32, recipe.component_weight)
    facts = hugging_face_config(cfg) | {"architectures": ["Wav2Vec2ForCTC"], "vocab_size": LETTERS}
    (folder / "config.json").write_text(json.dumps(facts, indent=2))
    return folder


def write_text_encoder(path: Path, cfg: UMT5Config) -> Path:
    """`models_t5_umt5-xxl-enc-bf16.pth`, bfloat16, and a tokeniser of a few words where the published one lies."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    beside = path.parent / "google" / "umt5-xxl"
    beside.mkdir(parents=True, exist_ok=True)
    made = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(beside / "tokenizer.json"))
    return _write(path, umt5_names.manifest(cfg), BFLOAT16, recipe.component_weight)


def write_text_embedding(path: Path, cfg: UMT5Config) -> Path:
    """A stored embedding, bfloat16: standard normals for the tokens of the usual prompt, zeros after them."""

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = np.zeros(shape)
        value[:, : len(WORDS) - 2] = recipe.normal(name, (1, len(WORDS) - 2, cfg.dim))
        return value

    return _write(path, {"context": (1, cfg.length, cfg.dim)}, BFLOAT16, weight)


def _write(path: Path, shapes: Shapes, dtype: np.dtype, weight: Weight, **options) -> Path:
    """A file of the kind that the name says, each tensor made when its turn comes."""
    writer = safetensors_file if path.suffix == ".safetensors" else torch_writer
    described = {name: (shape, dtype) for name, shape in shapes.items()}
    writer.write(path, described, lambda name: _weight(name, shapes[name], dtype, weight), **options)
    return path


def _weight(name: str, shape: tuple[int, ...], dtype: np.dtype, weight: Weight) -> np.ndarray:
    return np.asarray(weight(name, shape)).astype(dtype)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
