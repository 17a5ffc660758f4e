"""The part of the command line that runs the whole recipe."""

from pathlib import Path


def add_reproduce(commands) -> None:
    """Declares `lipforcing reproduce`."""
    parser = commands.add_parser("reproduce", help="train nano from nothing by the whole recipe, and report")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR",
                        help="data, checkpoints, weights and results; a broken run goes on from there")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="DIR",
                        help="where reproduction.md and its figures go (default: report in the workdir)")  # fmt: skip
    parser.add_argument("--miniature", action="store_true", help="everything in a few minutes, teaching nothing")
    parser.set_defaults(run=_reproduce)


def _reproduce(options) -> None:
    import jax

    from lipforcing_jax.cli import keep_compiled_programs, made_folder
    from lipforcing_jax.reproduction.run import reproduce
    from lipforcing_jax.reproduction.stages import FULL, SMALL

    keep_compiled_programs()
    if options.miniature:
        # It compiles far longer than it computes.
        jax.config.update("jax_disable_most_optimizations", True)
    workdir = made_folder(options.workdir)
    out = made_folder(options.report or workdir / "report")
    weights = reproduce(workdir, SMALL if options.miniature else FULL, out)
    print(f"weights: {weights}")
