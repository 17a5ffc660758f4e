"""The part of the command line that runs the whole recipe."""

import gc
import os
from functools import partial
from pathlib import Path

from lipforcing_jax.compiled_programs import compiling_quickly, keep_compiled_programs
from lipforcing_jax.work_folder import made_folder

BUNDLED = "bundled"


def add_reproduce(commands, number) -> None:
    """Declares `lipforcing reproduce`; `number` makes argument types."""
    parser = commands.add_parser("reproduce", help="train nano from nothing by the whole recipe, and report")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR",
                        help="data, checkpoints, weights and results; a broken run goes on from there")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="DIR",
                        help="where reproduction.md and its figures go (default: report in the workdir)")  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--miniature", action="store_true", help="everything in about three minutes, teaching nothing")
    how.add_argument("--long", action="store_true", help="the experiment files as they are: most of a day instead of "
                     "four to five hours, on two cores")  # fmt: skip
    how.add_argument("--onward", nargs="?", const=BUNDLED, metavar="DIR",
                     help="take ear, autoencoder and SyncNet from a folder of weights, train its student on, and let "
                     "the teacher begin as it (default: bundled, those of the package)")  # fmt: skip
    parser.add_argument("--workers", type=number(int, 1), metavar="N",
                        help="trainings beside one another (default: 2 on a CPU of several cores, else 1)")  # fmt: skip
    parser.set_defaults(run=_reproduce)


def _prepare(miniature: bool) -> None:
    """How programs are compiled, here and in every worker."""
    import lipforcing_jax.reproduction.run  # noqa: F401 - a worker has read it before its first task comes

    keep_compiled_programs()
    if miniature:  # It compiles far longer than it computes, and tracing makes objects that live on.
        import jax

        gc.set_threshold(100_000, 20, 5)
        os.environ["XLA_FLAGS"] = compiling_quickly(os.environ.get("XLA_FLAGS", ""))
        jax.config.update("jax_disable_most_optimizations", True)


def _reproduce(options) -> None:
    import jax

    from lipforcing_jax.models import presets
    from lipforcing_jax.reproduction.run import PRESET, reproduce
    from lipforcing_jax.reproduction.stages import GOING_ON, LONG, SMALL, WHOLE
    from lipforcing_jax.weights.networks import bundled_folder

    prepare = partial(_prepare, options.miniature)
    prepare()
    # A second process would find an accelerator's memory taken.
    several = jax.default_backend() == "cpu" and (os.cpu_count() or 1) > 1
    workdir = made_folder(options.workdir)
    out = made_folder(options.report or workdir / "report")
    size, finished = SMALL if options.miniature else LONG if options.long else WHOLE, None
    if options.onward is not None:
        size = GOING_ON
        finished = bundled_folder(presets.by_name(PRESET)) if options.onward == BUNDLED else Path(options.onward)
    weights = reproduce(
        workdir, size, out, partial(print, flush=True), finished, options.workers or 1 + several, prepare
    )
    print(f"weights: {weights}")
