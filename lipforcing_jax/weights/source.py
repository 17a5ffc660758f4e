"""One checkpoint, whatever its files: named tensors that are mapped and read when they are used."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import safetensors_file, torch_file

PREFIXES = ("_core.", "model.", "module.", "transformer.")
"""Wrappers' prefixes, in any number and order; no network of ours has such a key."""
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.(safetensors|bin|pth|pt)")
INDEX = ".index.json"
POINTER = b"version https://git-lfs"
UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".tmp")


@dataclass(frozen=True)
class Source:
    """Tensors by name, and the files that they come from."""

    tensors: dict[str, np.ndarray]
    files: list[Path]

    def read(self, name: str) -> np.ndarray:
        """The tensor called `name`, a read-only view of its file."""
        return self.tensors[name]

    def dtype(self, name: str) -> np.dtype:
        """Kind of the numbers that `read` gives."""
        return self.tensors[name].dtype

    def renamed(self, rename: Callable[[str], str]) -> "Source":
        """The same tensors under other names.

        Raises:
          UserError: two tensors get the same name.
        """
        tensors: dict[str, np.ndarray] = {}
        for name, value in self.tensors.items():
            new = rename(name)
            if new in tensors:
                raise UserError(f"The checkpoint {self.files[0]} holds {new} twice, under two prefixes.")
            tensors[new] = value
        return Source(tensors, self.files)


def open_source(path: Path) -> Source:
    """The checkpoint at `path`: a file, one shard of several, or a folder with one checkpoint.

    Wrappers' prefixes are taken off the names.

    Raises:
      UserError: there is nothing, a shard is missing, or a file is unfinished, damaged or not of weights.
    """
    files = _files(path)
    tensors: dict[str, np.ndarray] = {}
    for file in files:
        for name, value in _read(file).items():
            if name in tensors:
                raise UserError(f"The tensor {name} is in two files of the checkpoint {path}.")
            tensors[name] = value
    return Source(tensors, files).renamed(_bare)


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(f"The checkpoint {path} is a pointer to the real file; fetch that (git lfs pull).")
    if path.suffix == ".safetensors":
        return safetensors_file.read(path)
    return torch_file.read(path)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        _refuse_unfinished(path, [p for p in near if p.name.startswith(path.name)])
        raise UserError(f"There is no checkpoint at {path}; give a file of weights or a folder with one.")
    if path.is_dir():
        return _folder_files(path)
    _refuse_unfinished(path, [path])
    if not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder; give a file of weights or a folder with one.")
    if path.name.endswith(INDEX):
        return _indexed(path)
    return _siblings(path)


def _refuse_unfinished(checkpoint: Path, files: list[Path]) -> None:
    unfinished = [p.name for p in files if p.suffix in UNFINISHED]
    if unfinished:
        raise UserError(f"The checkpoint {checkpoint} is only half downloaded ({unfinished[0]}); finish it first.")


def _folder_files(folder: Path) -> list[Path]:
    """The one checkpoint of a folder: by its index, or all shards, or the only file of weights."""
    inside = sorted(folder.iterdir())
    _refuse_unfinished(folder, inside)
    indices = [p for p in inside if p.name.endswith(INDEX)]
    if indices:
        _refuse_several(folder, indices, indices[:1])
        return _indexed(indices[0])
    for suffix in (".safetensors", ".bin", ".pth", ".pt"):
        found = [p for p in inside if p.suffix == suffix]
        if found:
            files = _siblings(found[0])
            _refuse_several(folder, found, files)
            return files
    raise UserError(f"The folder {folder} holds no file of weights (.safetensors, .bin, .pth or .pt).")


def _refuse_several(folder: Path, found: list[Path], one: list[Path]) -> None:
    """Makes sure that all files found belong to one checkpoint."""
    if not set(found) <= set(one):
        names = ", ".join(p.name for p in found[:4])
        raise UserError(f"The folder {folder} holds several checkpoints ({names}); name one of them.")


def _indexed(index: Path) -> list[Path]:
    """The shards that an index lists; they lie beside it, whatever folder it names."""
    try:
        names = sorted({Path(name).name for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"The index {index} is damaged; download it again.") from error
    if not names:
        raise UserError(f"The index {index} lists no files; download it again.")
    return _all_present([index.parent / name for name in names])


def _siblings(path: Path) -> list[Path]:
    """All shards of the checkpoint that `path` is one of."""
    match = SHARD.fullmatch(path.name)
    if not match:
        return [path]
    stem, number, count, suffix = match.groups()
    if not 1 <= int(number) <= int(count):
        raise UserError(f"The name of {path} says shard {int(number)} of {int(count)}; give it its published name.")
    return _all_present([path.with_name(f"{stem}-{i:05d}-of-{count}.{suffix}") for i in range(1, int(count) + 1)])


def _all_present(files: list[Path]) -> list[Path]:
    missing = [p.name for p in files if not p.is_file()]
    if missing:
        raise UserError(
            f"The checkpoint in {files[0].parent} is only half downloaded: {len(missing)} of {len(files)} files are "
            f"missing, first {missing[0]}."
        )
    return files


def check(found: Source, expected: dict[str, tuple[int, ...]], what: str, ignored: tuple[str, ...] = ()) -> None:
    """Makes sure that a checkpoint holds exactly the expected tensors.

    Raises:
      UserError: names the first missing, unexpected and mis-shaped keys and counts all of them.
    """
    names = {name for name in found.tensors if not name.startswith(ignored)} if ignored else set(found.tensors)
    wrong = {
        "missing": sorted(expected.keys() - names),
        "unexpected": sorted(names - expected.keys()),
        "of another shape": [
            f"{name} {found.tensors[name].shape} instead of {tuple(expected[name])}"
            for name in sorted(expected.keys() & names)
            if found.tensors[name].shape != tuple(expected[name])
        ],
    }
    listed = list(_told(wrong))
    if listed:
        raise UserError(f"The checkpoint {found.files[0]} is not {what}: {'; '.join(listed)}.")


def _told(wrong: dict[str, list[str]]) -> Iterator[str]:
    for fault, names in wrong.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield f"{len(names)} keys {fault}: {', '.join(names[:3])}{more}"
