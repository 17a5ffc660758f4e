"""The part of the command line that asks the TPU compiler what a job needs."""

import json
import os
from pathlib import Path

from lipforcing_jax.errors import UserError


def add_plan(commands, number) -> None:
    """Declares `lipforcing plan`; `number` makes argument types."""
    parser = commands.add_parser("plan", help="memory, traffic and least time of a job on a TPU topology, without one")
    parser.add_argument("--topology", required=True, metavar="SLICE", help="chip and extent, such as v5e:2x4")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a stage, such as configs/stage2_sf_14b.py")
    parser.add_argument("--preset", metavar="NAME", help="instead of --config: serving of a student of this size")
    parser.add_argument("--sampler", action="store_true", help="with --preset: the teacher's 50 steps")
    parser.add_argument("--streams", type=number(int, 1), default=1, metavar="N",
                        help="with --preset: clips at once (default: 1)")  # fmt: skip
    parser.add_argument("--mesh", metavar="AXES", help="such as data=2,fsdp=32 (default: chosen by rule)")
    parser.add_argument("--suggest", type=number(int, 1), metavar="N", nargs="?", const=4,
                        help="try the N likeliest meshes (default: 4) and name the fastest that fits")  # fmt: skip
    parser.add_argument("--layers", type=number(int, 4), metavar="N",
                        help="cut the network to N blocks, for a quick look at something smaller")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="changes to the experiment's fields")
    parser.set_defaults(run=_plan)


def _plan(options) -> int:
    if (options.config is None) == (options.preset is None):
        raise UserError("A plan is for a training stage or for serving: give --config FILE or --preset NAME.")
    if options.overrides and options.preset:
        raise UserError("FIELD=VALUE changes an experiment; there is none with --preset.")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Programs are compiled for TPUs and arrays, where any, are here.
    from lipforcing_jax.planning import report
    from lipforcing_jax.planning.chips import topology

    slice_ = topology(options.topology)
    if options.config is not None:
        from lipforcing_jax.training.run import load_config

        asked = report.asked_training(load_config(options.config, options.overrides), options.layers)
    else:
        asked = report.asked_serving(options.preset, options.streams, options.sampler, options.layers)
    plans = report.suggested(asked, slice_, options.suggest) if options.suggest else [
        report.planned(asked, slice_, options.mesh)
    ]  # fmt: skip
    best = report.best(plans)
    if options.json:
        print(json.dumps([plan.record() for plan in plans], indent=1))
    else:
        print("\n\n".join(plan.text() for plan in plans))
        if options.suggest:
            print(f"\nThe fastest that fits: {best.mesh}" if best else "\nNone of these fits.")
    return 0 if best else 1
