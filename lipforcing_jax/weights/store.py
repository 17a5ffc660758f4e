"""Our parameter pytrees as safetensors: one file per network, strict in both directions."""

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lipforcing_jax.errors import UserError
from lipforcing_jax.whole_file import written_whole


def save_module(path: Path, module: nnx.Module, dtype=np.float32, metadata: dict[str, str] | None = None) -> Path:
    """Writes all parameters under their dotted paths; the file appears whole or not at all."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    tensors = {".".join(map(str, p)): np.ascontiguousarray(np.asarray(leaf[...]).astype(dtype)) for p, leaf in flat}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as growing:
        save_file(tensors, growing, metadata=metadata)
    return path


@lru_cache(maxsize=32)
def declared(make: Callable[[], nnx.Module]) -> tuple[nnx.GraphDef, dict[str, tuple]]:
    """Structure of the module that `make()` declares, and path and shape of its parameters by their dotted names.

    Declaring a module takes longer than reading its file, so what one `make` declares is remembered.
    """
    graphdef, shapes = nnx.split(nnx.eval_shape(make))
    return graphdef, {".".join(map(str, p)): (p, leaf) for p, leaf in nnx.to_flat_state(shapes)}


def load_module(path: Path, make: Callable[[], nnx.Module]) -> nnx.Module:
    """Rebuilds the module that `make()` declares with the parameters in `path`, in float32.

    Raises:
      UserError: the file is missing, damaged, or does not hold exactly the parameters of the module.
    """
    graphdef, expected = declared(make)
    if not path.is_file():
        raise UserError(f"Weights not found: {path} (give a folder with the preset's weights by --weights).")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"Weights are damaged: {path} ({error}); install the package or convert them again.") from error
    wrong = sorted(tensors.keys() ^ expected.keys())
    wrong += [n for n in expected if n in tensors and tensors[n].shape != expected[n][1].shape]
    if wrong:
        raise UserError(f"Weights in {path} do not fit this preset: {len(wrong)} tensors differ, first {wrong[0]}.")
    flat = {p: leaf.replace(jnp.asarray(tensors[n], jnp.float32)) for n, (p, leaf) in expected.items()}
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


def sha256(paths: list[Path]) -> str:
    """One digest over the given files in order; the run's record names its weights by it."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """The facts stored beside the tensors."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(json.dumps(file.metadata() or {}))
