"""A folder of converted weights: a manifest, an orbax checkpoint per network, and the prompt's embedding.

    manifest.json      preset, and of every part the sizes, the kind of numbers and the files that it comes from
    student/ ...       parameter trees as the modules declare them, in the precision of their source
    text.safetensors   the embedding in bfloat16
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import parts, piecewise, safetensors_file

MANIFEST = "manifest.json"
Places = Callable[[nnx.State], Any]
"""From a state without arrays to a pytree of shardings like it."""

FORMAT = 1
TEXT_FILE = "text.safetensors"
TEXT_KEY = "text"


@dataclass(frozen=True)
class Origin:
    """A file that weights were converted from."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """What the manifest says of one part. `config` holds the fields of its dataclass; `dtype` may be "mixed"."""

    config: dict
    dtype: str
    tensors: int
    parameters: int
    sources: list[Origin]


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. `preset` is "custom" for sizes that no preset has."""

    preset: str
    parts: dict[str, Part]

    def text(self) -> str:
        """The manifest file's content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def place(folder: Path, part: str) -> Path:
    """Where a part lies in a folder."""
    return folder / (TEXT_FILE if part == parts.TEXT else part)


def is_converted(folder: Path) -> bool:
    """Whether this is a folder of converted weights, sound or not."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, after a look at every part that it names.

    Raises:
      UserError: it is missing, damaged or of another format, or a part is missing or is not what it says.
    """
    manifest = parse_manifest(folder)
    for part in manifest.parts:
        check_part(folder, manifest, part)
    return manifest


def parse_manifest(folder: Path) -> Manifest:
    """The same without a look at the parts."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"There are no converted weights in {folder}: it has no {MANIFEST} (see lipforcing convert).")
    try:
        content = json.loads(path.read_text())
        found = content.pop("format")
        if found != FORMAT:
            raise UserError(f"The manifest {path} has format {found}, this version reads {FORMAT}; convert again.")
        found_parts = {name: _part(name, values) for name, values in content["parts"].items()}
        return Manifest(str(content["preset"]), found_parts)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"The manifest {path} is damaged ({error}); convert the weights again.") from error


def _part(name: str, values: dict) -> Part:
    part = Part(**{**values, "sources": [Origin(**origin) for origin in values["sources"]]})
    parts.config_from(name, part.config)
    return part


def check_part(folder: Path, manifest: Manifest, part: str) -> None:
    """Makes sure that a part is there and has as many numbers as the manifest says.

    Raises:
      UserError: it is not so.
    """
    path, said = place(folder, part), manifest.parts[part]
    if not path.exists():
        raise UserError(f"The weights in {folder} are incomplete: {path.name} is missing; convert it again.")
    leaves = safetensors_file.read(path) if part == parts.TEXT else piecewise.read_leaves(path)
    found = sum(leaf.size for leaf in leaves.values())
    if found != said.parameters:
        raise UserError(
            f"The weights in {path} are not those of {folder / MANIFEST}: {found} parameters instead of "
            f"{said.parameters}; convert them again."
        )


def config_of(manifest: Manifest, part: str):
    """A part's sizes: the dataclass of `models.presets`, or `parts.TextConfig`.

    Raises:
      UserError: the folder does not hold this part.
    """
    if part not in manifest.parts:
        raise UserError(f"The weights hold no {part}; add it by lipforcing convert.")
    return parts.config_from(part, manifest.parts[part].config)


def load_part(
    folder: Path, part: str, make: Callable[[], nnx.Module], dtype=None, places: Places | None = None
) -> nnx.Module:
    """The module that `make()` declares with the parameters of a part.

    Args:
      dtype: of the parameters; None keeps that in which they are stored.
      places: makes shardings of the state, such as `parallel.sharding.shardings` on a mesh. Every device reads its
        shards only, and no device need have room for all. None puts everything on the first device.

    Raises:
      UserError: the part is missing, damaged, does not hold exactly the parameters of the module, or a device has no
        room for it.
    """
    graphdef, state = nnx.split(nnx.eval_shape(make))
    return nnx.merge(graphdef, load_state(folder, part, state, dtype, places))


def load_state(folder: Path, part: str, state: nnx.State, dtype=None, places: Places | None = None) -> nnx.State:
    """The same for any of a module's parameters, of which `state` tells the shapes."""
    path = place(folder, part)
    if not path.is_dir():
        raise UserError(f"There is no {part} in {folder}; add it by lipforcing convert.")
    flat = {tuple(map(str, p)): (p, leaf) for p, leaf in nnx.to_flat_state(state)}
    wanted = {name: leaf.shape for name, (_, leaf) in flat.items()}
    stored = piecewise.read_leaves(path)
    wrong = sorted(wanted.keys() ^ stored.keys())
    wrong += [p for p in wanted if p in stored and stored[p].shape != wanted[p]]
    if wrong:
        raise UserError(
            f"The weights in {path} do not fit this {part}: {len(wrong)} parameters differ, first {'.'.join(wrong[0])}."
        )
    placed = _shardings(state, places)
    target = {
        name: jax.ShapeDtypeStruct(shape, dtype or stored[name].dtype, sharding=placement)
        for (name, shape), placement in zip(wanted.items(), placed, strict=True)
    }
    restored = _restore(path, target)
    return nnx.from_flat_state({p: leaf.replace(restored[name]) for name, (p, leaf) in flat.items()})


def _shardings(state: nnx.State, places: Places | None) -> list[jax.sharding.Sharding]:
    """One sharding per leaf, in the order of the flat state."""
    if places is None:
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return [first] * len(nnx.to_flat_state(state))
    return jax.tree.leaves(places(state))


def _restore(path: Path, target: dict[tuple[str, ...], jax.ShapeDtypeStruct]) -> dict[tuple[str, ...], Array]:
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return piecewise.flattened(checkpointer.restore(path.absolute(), piecewise.nested(target)))
    except Exception as error:
        # Orbax wraps what goes wrong in a bare exception.
        fault = error.__cause__ if type(error) is Exception else error
        if isinstance(fault, OSError | ValueError):
            raise UserError(f"The weights in {path} are damaged; convert them again.") from error
        if "RESOURCE_EXHAUSTED" in str(fault):
            raise UserError(
                f"A device has no room for its share of the weights in {path}; spread them over more devices."
            ) from error
        raise


def load_text(folder: Path) -> Float[np.ndarray, "1 l d"]:
    """The prompt's embedding, in bfloat16.

    Raises:
      UserError: it is missing or damaged.
    """
    path = place(folder, parts.TEXT)
    if not path.is_file():
        raise UserError(f"There is no text embedding in {folder}; add it by lipforcing convert --text.")
    tensors = safetensors_file.read(path)
    if TEXT_KEY not in tensors:
        raise UserError(f"The text embedding {path} is damaged; convert it again.")
    return tensors[TEXT_KEY]
