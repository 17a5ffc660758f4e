"""The part of the command line that asks the TPU compiler what a job needs."""

import json
import os
from dataclasses import replace
from pathlib import Path

from lipforcing_jax.errors import UserError


def add_plan(commands, number) -> None:
    """Declares `lipforcing plan`; `number` makes argument types."""
    parser = commands.add_parser("plan", help="memory, traffic and least time of a job on a TPU topology, without one")
    parser.add_argument("--topology", metavar="SLICE", help="chip and extent, such as v5e:2x4")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a stage, such as configs/stage2_sf_14b.py")
    parser.add_argument("--preset", metavar="NAME", help="instead of --config: serving of a student of this size")
    parser.add_argument("--sampler", action="store_true", help="with --preset: the teacher's 50 steps")
    parser.add_argument("--streams", type=number(int, 1), default=1, metavar="N",
                        help="with --preset: clips at once (default: 1)")  # fmt: skip
    parser.add_argument("--programs", metavar="NAMES", help="only these programs of the job, such as see,chunk,draw")
    parser.add_argument("--mesh", metavar="AXES", help="such as data=2,fsdp=32 (default: chosen by rule)")
    parser.add_argument("--suggest", type=number(int, 1), metavar="N", nargs="?", const=4,
                        help="search meshes and ways of recomputing, compile up to N (default: 4) and name the fastest "
                        "that fits")  # fmt: skip
    parser.add_argument("--layers", type=number(int, 4), metavar="N",
                        help="cut the network to N blocks, for a quick look at something smaller")  # fmt: skip
    parser.add_argument("--count", action="store_true", help="compile nothing: operations and what the job holds")
    parser.add_argument("--check", action="store_true",
                        help="instead of a job: the few programs that must always compile and fit")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the plan into a page of plans")
    parser.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="changes to the experiment's fields")
    parser.set_defaults(run=_plan)


def _plan(options) -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Programs are compiled for TPUs and arrays, where any, are here.
    if options.check:
        return _check()
    if options.topology is None or (options.config is None) == (options.preset is None):
        raise UserError(
            "A plan is for a training stage or for serving on some slice: give --config FILE or --preset NAME, and "
            "--topology SLICE."
        )
    if options.overrides and options.preset:
        raise UserError("FIELD=VALUE changes an experiment; there is none with --preset.")
    if options.suggest and (options.mesh or options.count):
        raise UserError("--suggest chooses the mesh and compiles; give it without --mesh and --count.")
    from lipforcing_jax.planning import report, suggest
    from lipforcing_jax.planning.chips import topology

    slice_, asked = topology(options.topology), _asked(options)
    if options.count:
        return _count(asked, slice_, options.mesh)
    found = suggest.search(asked, slice_, options.suggest) if options.suggest else None
    plans = found.plans if found else [report.planned(asked, slice_, options.mesh)]
    if options.markdown:
        from lipforcing_jax.planning import page

        page.add(options.markdown, plans)
    if options.json:
        print(json.dumps([plan.record() for plan in plans], indent=1))
    else:
        print("\n\n".join(plan.text() for plan in plans))
        if found:
            print(f"\n{found.text()}")
    best = found.best if found else suggest.fastest(plans)
    return 0 if best else 1


def _asked(options):
    """The job that the options describe."""
    from lipforcing_jax.planning import asked

    if options.config is not None:
        from lipforcing_jax.training.run import load_config

        job = asked.training(load_config(options.config, options.overrides), options.layers)
    else:
        make = asked.sampling if options.sampler else asked.streaming
        job = make(options.preset, options.streams, options.layers)
    only = tuple(name.strip() for name in (options.programs or "").split(",") if name.strip())
    return replace(job, only=only)


def _count(asked, slice_, mesh: str | None) -> int:
    """Prints what is known of a job without compiling it; such a count never says that a job fits."""
    from lipforcing_jax.parallel import mesh as meshes
    from lipforcing_jax.planning import estimate, report
    from lipforcing_jax.planning.asked import chosen

    shape = meshes.parse(mesh) if mesh else chosen(asked, len(slice_.devices))
    placed, job, batch, notes = report.laid_out(asked, slice_, shape)
    counted = [estimate.count(program, job, placed) for program in job.programs]
    print("\n".join([f"{asked.name} on {slice_.name}, mesh {shape}, batch {batch}, counted and not compiled", *notes]))
    print(f"\n{estimate.table(counted, shape.size, slice_.chip)}")
    return 0


def _check() -> int:
    """Prints plans as they are made; 1 if one does not fit."""
    from lipforcing_jax.planning import checks

    failed = 0
    for plan in checks.run():
        print(f"{plan.text()}\n", flush=True)
        failed |= not plan.fits
    return int(failed)
