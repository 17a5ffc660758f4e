"""Finds the stage that an experiment file describes and runs it."""

import ast
import importlib
import importlib.util
from importlib import resources
from pathlib import Path

import jax
import ml_collections

from lipforcing_jax.errors import UserError
from lipforcing_jax.work_folder import refuse_address

CHECKOUT = Path(__file__).parents[2] / "configs"
"""Where the experiment files lie in a checkout; a built package carries them inside."""
STAGES = {
    "audio": "audio_encoder",
    "tiny_vae": "tiny_vae",
    "sync_net": "sync_net",
    "flow_matching": "teacher",
    "diffusion_forcing": "student",
    "talkers": "talkers",
    "self_forcing": "self_forcing",
}
"""The module of each stage in this room; its `train(config, workdir)` returns what it made."""
SHARED = ("diffusion_forcing", "self_forcing")
"""Stages that several processes can run together."""
FILES = {"dataset", "weights", "start", "teacher", "negative_prompt"}
"""Fields that name files and folders."""


def shipped(name: str) -> Path:
    """An experiment file that comes with the project, by its name without the ending."""
    installed = Path(str(resources.files("lipforcing_jax") / "configs"))
    return (installed if installed.is_dir() else CHECKOUT) / f"{name}.py"


def load_config(path: Path, overrides: list[str]) -> ml_collections.ConfigDict:
    """The experiment file's `get_config()`, with `key=value` overrides; unknown keys are refused.

    Raises:
      UserError: no such file, or an override names no field or does not fit its type.
    """
    if not path.is_file():
        raise UserError(f"Experiment file not found: {path}; see configs/ for those that come with the project.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    for override in overrides:
        name, _, value = override.partition("=")
        if name not in config.keys():  # noqa: SIM118
            raise UserError(f"{path.name} has no field {name!r}; its fields are {', '.join(sorted(config.keys()))}.")
        try:
            config[name] = parse(value, config[name])
        except ValueError as error:
            raise UserError(f"{name}={value} does not fit {path.name}: {error}.") from error
    return config


def parse(text: str, default):
    """A field's value from what was typed, of the same type as its default.

    Yes and no are written true and false, tuples with or without brackets (`0.999,0.769,0` or `((7, 1), (9, 3))`).
    Where the default is None, "none" and numbers or tuples of them are understood.

    Raises:
      ValueError: the text is nothing of that type.
    """
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError("it takes true or false")
        return text.lower() == "true"
    if isinstance(default, int | float):
        return type(default)(text)
    if default is None and text.lower() == "none":
        return None
    try:
        literal = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("it takes numbers separated by commas") from error
    found = numbers(literal)
    if default is not None and not isinstance(found, tuple):
        raise ValueError("it takes several numbers separated by commas")
    return found


def numbers(value):
    """A number, or tuples and lists of them as tuples. Raises ValueError for anything else."""
    if isinstance(value, tuple | list):
        return tuple(map(numbers, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


def run(config: ml_collections.ConfigDict, workdir: Path) -> Path:
    """Runs one stage; returns the file with its weights.

    Raises:
      UserError: no such stage, a field names a bucket's address, several processes run a stage for one, or the stage
        was refused.
    """
    for name in sorted(FILES & set(config.keys())):
        refuse_address(name, config[name])
    if config.stage not in STAGES:
        raise UserError(f"Unknown stage {config.stage!r}; the stages are {', '.join(STAGES)}.")
    if jax.process_count() > 1 and config.stage not in SHARED:
        raise UserError(
            f"The stage {config.stage!r} trains in one process; start it once and without --distributed. Several "
            f"processes share {', '.join(SHARED)}."
        )
    return importlib.import_module(f"lipforcing_jax.training.{STAGES[config.stage]}").train(config, workdir)
