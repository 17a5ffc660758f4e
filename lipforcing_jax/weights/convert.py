"""Reference checkpoints to a folder of converted weights (`converted.py`), one tensor in memory at a time.

Everything is opened, measured and checked before anything is written.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import ml_dtypes
import numpy as np
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import LoRAConfig
from lipforcing_jax.weights import (
    converted,
    dit_diffusers,
    dit_names,
    parts,
    piecewise,
    safetensors_file,
    sizes,
    stacked,
    text_encoder,
    tiny_vae_names,
    trained_part,
    training_parts,
    wan_vae_diffusers,
    wav2vec2_names,
)
from lipforcing_jax.weights.assemble import assemble
from lipforcing_jax.weights.digests import Digests
from lipforcing_jax.weights.piecewise import Leaf
from lipforcing_jax.weights.source import Source, check, open_source
from lipforcing_jax.weights.staging import check_space, publish, staging

Progress = Callable[[int, int], None]
"""Called with the bytes that were just written and those to be written in all."""


@dataclass(frozen=True)
class Inputs:
    """Checkpoints to convert; any subset. The student is either merged or given as base, adapter and delta."""

    student: Path | None = None
    base: Path | None = None
    adapter: Path | None = None
    delta: Path | None = None
    vae: Path | None = None
    taehv: Path | None = None
    wav2vec2: Path | None = None
    text: Path | None = None
    syncnet: Path | None = None
    prompt: str | None = None
    heads: int | None = None
    unmerged: bool = False
    """Keep base and adapter apart, for training."""

    def check(self) -> None:
        """Raises UserError for what can't be meant."""
        given = {name for name, value in asdict(self).items() if value is not None} - {"unmerged"}
        if not given - {"prompt", "heads"}:
            raise UserError("Nothing to convert; give at least one checkpoint, such as --student FILE.")
        if "student" in given and given & {"base", "adapter", "delta"}:
            raise UserError("Give either a merged student or its base, adapter and delta, not both.")
        stored = self.base is not None and converted.is_converted(self.base)
        lone = "base" in given and "adapter" not in given and not stored
        if lone or ("base" not in given and given & {"adapter", "delta"}):
            raise UserError("A student in parts needs --base and --adapter, and --delta for a distilled one.")
        if self.unmerged and (stored or "delta" in given or "base" not in given):
            raise UserError(
                "--unmerged keeps the reference's --base and --adapter apart, for training; a delta is where training "
                "may start, as it is (start=FILE)."
            )
        if "prompt" in given and "text" not in given:
            raise UserError("A prompt needs the text encoder; give it by --text.")
        if "heads" in given and not given & {"student", "base"}:
            raise UserError("The number of heads is the student's; give it by --student or --base.")
        if self.heads is not None and self.heads < 1:
            raise UserError(f"A student can't have {self.heads} heads.")


@dataclass(frozen=True)
class Prepared:
    """A part that is ready to be written."""

    config: object
    leaves: dict[tuple[str, ...], Leaf]
    tensors: int
    files: list[Path]

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.leaves.values())

    def record(self, origins: list[converted.Origin]) -> converted.Part:
        kinds = {leaf.dtype.name for leaf in self.leaves.values()}
        return converted.Part(
            asdict(self.config), kinds.pop() if len(kinds) == 1 else "mixed", self.tensors,
            sum(leaf.size for leaf in self.leaves.values()), origins,
        )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """What a conversion did."""

    manifest: converted.Manifest
    parts: list[str]
    bytes: int
    seconds: float


def convert(inputs: Inputs, out: Path, progress: Progress = lambda done, of: None) -> Summary:
    """Converts all inputs into `out`; parts that are there and not given stay.

    Raises:
      UserError: a checkpoint is not what it should be, or there is no room. `out` is as it was.
    """
    started = time.perf_counter()
    inputs.check()
    prepared = prepare(inputs)
    kept = _kept(out, list(prepared))
    total = sum(part.nbytes for part in prepared.values())
    check_space(out, total)
    files = {f for part in prepared.values() for f in part.files if f.is_file()}
    with staging(out) as staged, Digests(files) as digests:
        for name, part in prepared.items():
            _write(staged, name, part, lambda done: progress(done, total))
        records = {name: part.record(_origins(part.files, digests)) for name, part in prepared.items()}
        manifest = _manifest(kept | records)
        (staged / converted.MANIFEST).write_text(manifest.text())
        publish(staged, out, [converted.place(staged, name).name for name in prepared] + [converted.MANIFEST])
    return Summary(manifest, list(prepared), total, time.perf_counter() - started)


def _origins(files: list[Path], digests: Digests) -> list[converted.Origin]:
    """The files, and in the place of a converted part those that it came from."""
    origins = []
    for path in files:
        stored = path.is_dir()
        origins += converted.parse_manifest(path.parent).parts[path.name].sources if stored else [digests.origin(path)]
    return origins


def _kept(out: Path, names: list[str]) -> dict[str, converted.Part]:
    """The parts that `out` holds already.

    Raises:
      UserError: what is to be written would replace something that is not converted weights.
    """
    if (out / converted.MANIFEST).exists():
        return converted.parse_manifest(out).parts
    in_the_way = [path for path in (converted.place(out, name) for name in names) if path.exists()]
    if in_the_way:
        raise UserError(f"{in_the_way[0]} is in the way and no part of converted weights; choose another folder.")
    return {}


def _manifest(records: dict[str, converted.Part]) -> converted.Manifest:
    configs = {name: parts.config_from(name, record.config) for name, record in records.items()}
    ordered = {name: records[name] for name in parts.CONFIGS if name in records}
    return converted.Manifest(parts.preset_name(configs), ordered)


def _write(staged: Path, name: str, part: Prepared, progress: Callable[[int], None]) -> None:
    path = converted.place(staged, name)
    if name != parts.TEXT:
        return piecewise.write(path, part.leaves, progress)
    ((_, leaf),) = part.leaves.items()
    safetensors_file.write(path, {converted.TEXT_KEY: (leaf.shape, leaf.dtype)}, lambda _: leaf.read(None))
    return progress(leaf.nbytes)


# -- what is to be written ---------------------------------------------------------------------------------------------


def prepare(inputs: Inputs) -> dict[str, Prepared]:
    """All parts, opened and checked, by name."""
    openers = {
        "student": (inputs.student or inputs.base, lambda _: _open_student(inputs)),
        "vae": (inputs.vae, _open_vae),
        "taehv": (inputs.taehv, _open_taehv),
        "wav2vec2": (inputs.wav2vec2, _open_wav2vec2),
        "syncnet": (inputs.syncnet, _open_syncnet),
    }
    prepared = _apart(inputs) if inputs.unmerged else {}
    for name, (path, opener) in openers.items():
        if path is not None and not (name == "student" and inputs.unmerged):
            prepared[name] = _network(name, *_measured(name, path, opener))
    if inputs.text is not None:
        prepared[parts.TEXT] = _text(inputs.text, inputs.prompt)
    return prepared


def _measured(name: str, path: Path, opener) -> tuple[Source, object]:
    """A checkpoint and its sizes, which must be those of a network."""
    try:
        found, config = opener(path)
        parts.NETWORKS[name].names.manifest(config)
    except (ArithmeticError, ValueError, IndexError) as error:
        raise UserError(
            f"The checkpoint {path} is not {parts.NETWORKS[name].title}: its tensors have sizes that no such network "
            f"can have ({error})."
        ) from error
    return found, config


def _network(name: str, found: Source, config) -> Prepared:
    network = parts.NETWORKS[name]
    expected = network.names.manifest(config)
    check(found, expected, network.title, network.ignored)
    if name == "student":
        return _stacked(found, dit_names.abstract_state(config), config, config, found.files)
    return Prepared(config, whole_leaves(network, found, config), len(expected), found.files)


def _stacked(found: Source, abstract, sizes, config, files: list[Path]) -> Prepared:
    """Parameters of the diffusion network; `config` describes the part and `sizes` the network."""
    tensors = len(dit_names.manifest_of(abstract, sizes))
    return Prepared(config, stacked.leaves(found, abstract, sizes), tensors, files)


def _apart(inputs: Inputs) -> dict[str, Prepared]:
    """Base and adapter of a student, for training: the base rounds as it does where it is merged."""
    base, adapter = _native_student(inputs.base), open_source(inputs.adapter)
    whole, sizes = _measured("student", inputs.base, lambda _: assemble(base, adapter, None, inputs.heads))
    frozen, trained = whole.apart()
    lora = LoRAConfig(whole.rank, whole.rank * whole.scale)
    return {
        parts.BASE: _stacked(frozen, trained_part.abstract_frozen(sizes), sizes, sizes, base.files),
        parts.ADAPTER: _stacked(trained, trained_part.abstract_state(sizes, lora), sizes, lora, adapter.files),
    }


def whole_leaves(network: parts.Network, found: Source, config) -> dict[tuple[str, ...], Leaf]:
    """A smaller network's parameters, views of the file where nothing is stacked."""
    state = network.names.from_reference(found.read, config, None)
    return {tuple(map(str, path)): piecewise.whole(np.asarray(leaf[...])) for path, leaf in nnx.to_flat_state(state)}


def _open_student(inputs: Inputs) -> tuple[Source, object]:
    if inputs.student is not None:
        found = _native_student(inputs.student)
        return found, sizes.dit(found, inputs.heads)
    delta = None if inputs.delta is None else open_source(inputs.delta)
    if converted.is_converted(inputs.base):
        base, adapter, config = training_parts.sources(inputs.base)
        adapter = open_source(inputs.adapter) if inputs.adapter else adapter
        return assemble(base, adapter, delta, config.num_heads)
    return assemble(_native_student(inputs.base), open_source(inputs.adapter), delta, inputs.heads)


def _native_student(path: Path) -> Source:
    """A diffusion network under the reference's names; diffusers' rotary tables are left out."""
    found = open_source(path)
    if not dit_diffusers.is_diffusers(found.tensors):
        return found
    tensors = {name: value for name, value in found.tensors.items() if not name.startswith("rope.")}
    return Source(tensors, found.files).renamed(dit_diffusers.native_name)


def _open_vae(path: Path) -> tuple[Source, object]:
    found = open_source(path)
    if wan_vae_diffusers.is_diffusers(found.tensors):
        blocks = sizes.count(found, r"decoder\.up_blocks\.0\.resnets\.(\d+)\.") - 1
        found = found.renamed(lambda name: wan_vae_diffusers.native_name(name, blocks))
    return found, sizes.wan_vae(found)


def _open_taehv(path: Path) -> tuple[Source, object]:
    """TAEHV, of whose time-grow layers only the last rows are used, as by its own loader."""
    found = open_source(path)
    config = sizes.tiny_vae(found)
    tensors = dict(found.tensors)
    for name, shape in tiny_vae_names.manifest(config).items():
        if name in tensors and ".conv.weight" in name and tensors[name].shape[0] > shape[0]:
            tensors[name] = tensors[name][-shape[0] :]
    return replace(found, tensors=tensors), config


def _open_wav2vec2(path: Path) -> tuple[Source, object]:
    found = open_source(path).renamed(wav2vec2_names.bare_name)
    beside = found.files[0].parent / "config.json"
    facts = {}
    if beside.is_file():
        try:
            facts = json.loads(beside.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"The file {beside} is damaged; download it again.") from error
    return found, sizes.wav2vec2(found, facts if facts.get("model_type") == "wav2vec2" else {})


def _open_syncnet(path: Path) -> tuple[Source, object]:
    found = open_source(path)
    return found, sizes.syncnet(found)


def _text(path: Path, prompt: str | None) -> Prepared:
    """The embedding; a stored one has the prompt that the user says, if any."""
    found = open_source(path)
    if text_encoder.is_encoder(found):
        prompt = prompt or text_encoder.PROMPT
        value = text_encoder.encode_prompt(path, prompt)
    else:
        value = text_encoder.read_embedding(path)
    value = value.astype(ml_dtypes.bfloat16)
    config = parts.TextConfig(prompt, *value.shape[1:])
    return Prepared(config, {(parts.TEXT,): piecewise.whole(value)}, 1, found.files)
