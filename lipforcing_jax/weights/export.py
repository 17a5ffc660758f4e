"""A folder of converted weights back to the reference's files, every tensor as it was, bit for bit.

The names are the reference's own, without wrappers' prefixes; what is written reads back by `convert` and by the
reference. Left out, because converting does not keep them: tensors that no network here has (heads for transcription,
counters of the training), the rows of TAEHV's time-grow layers that its loader drops, and the base of a student in
parts, which is the published Wan network without the layer that the adapter replaces.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.weights import (
    converted,
    dit_names,
    parts,
    piecewise,
    safetensors_file,
    stacked,
    torch_writer,
    trained_part,
)
from lipforcing_jax.weights.abstract import abstract_parameters
from lipforcing_jax.weights.convert import Progress, Summary
from lipforcing_jax.weights.stacked import Get, Shapes
from lipforcing_jax.weights.staging import check_space, publish, staging

FILES = {
    "vae": "Wan2.1_VAE.pth", "taehv": "taew2_1.pth", "wav2vec2": "wav2vec2", "syncnet": "syncnet_v2.model",
    parts.ADAPTER: "omniavatar_ls.pt", parts.TEXT: "text_emb.pt",
}  # fmt: skip
"""Names of the exported files; wav2vec2 is a folder. The student's name has the preset in it."""


def export(folder: Path, out: Path, progress: Progress = lambda done, of: None) -> Summary:
    """Writes the reference's files of everything in `folder` into `out`.

    Raises:
      UserError: the folder is not one of converted weights, a file is in the way, or there is no room. `out` is as it
        was.
    """
    started = time.perf_counter()
    manifest = converted.read_manifest(folder)
    names = {part: file_name(part, manifest) for part in manifest.parts if part != parts.BASE}
    for name in names.values():
        if (out / name).exists():
            raise UserError(f"{out / name} is there already; choose another folder.")
    content = {part: tensors(folder, manifest, part) for part in names}
    total = sum(_bytes(shapes) for shapes, _ in content.values())
    check_space(out, total)
    with staging(out) as staged:
        for part, (shapes, get) in content.items():
            _write(staged / names[part], manifest, part, shapes, _reporting(get, lambda done: progress(done, total)))
        publish(staged, out, list(names.values()))
    return Summary(manifest, list(names), total, time.perf_counter() - started)


def file_name(part: str, manifest: converted.Manifest) -> str:
    """What a part's file is called, after the published one."""
    return f"lipforcing_{manifest.preset}.pth" if part == "student" else FILES[part]


def tensors(folder: Path, manifest: converted.Manifest, part: str) -> tuple[Shapes, Get]:
    """Shapes of a part's tensors under the reference's names, and how to read one."""
    path = converted.place(folder, part)
    if part == parts.TEXT:
        return _existing({"context": converted.load_text(folder)})
    config = converted.config_of(manifest, part)
    if part == "student":
        return stacked.tensors(path, dit_names.abstract_state(config), config)
    if part == parts.ADAPTER:
        sizes = converted.config_of(manifest, parts.BASE)
        return stacked.tensors(path, trained_part.abstract_state(sizes, config), sizes)
    return whole_tensors(path, parts.NETWORKS[part], config)


def whole_tensors(path: Path, network: parts.Network, config) -> tuple[Shapes, Get]:
    """A smaller network's, all in memory."""
    read = {
        leaf: abstract.replace(piecewise.open_leaf(path, tuple(map(str, leaf))).read().result())
        for leaf, abstract in abstract_parameters(network.module, config).items()
    }
    return _existing(network.names.export(nnx.from_flat_state(read), config))


def _existing(values: dict[str, np.ndarray]) -> tuple[Shapes, Get]:
    return {name: (value.shape, value.dtype) for name, value in values.items()}, values.__getitem__


def _bytes(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())


def _reporting(get: Get, progress: Callable[[int], None]) -> Get:
    def reported(name: str) -> np.ndarray:
        value = get(name)
        progress(value.nbytes)
        return value

    return reported


def _write(path: Path, manifest: converted.Manifest, part: str, shapes: Shapes, get: Get) -> None:
    if part != "wav2vec2":
        return torch_writer.write(path, shapes, get)
    path.mkdir()
    safetensors_file.write(path / "model.safetensors", shapes, get)
    facts = hugging_face_config(converted.config_of(manifest, part))
    (path / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    return None


def hugging_face_config(config: Wav2Vec2Config) -> dict:
    """The config.json that belongs to wav2vec2's tensors."""
    return {
        "architectures": ["Wav2Vec2Model"],
        "model_type": "wav2vec2",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "conv_dim": list(config.conv_dim),
        "conv_kernel": list(config.conv_kernel),
        "conv_stride": list(config.conv_stride),
        "conv_bias": False,
        "num_feat_extract_layers": len(config.conv_dim),
        "num_conv_pos_embeddings": config.position_taps,
        "num_conv_pos_embedding_groups": config.position_groups,
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "do_stable_layer_norm": False,
    }
