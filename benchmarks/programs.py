"""Runs what `lipforcing plan` plans: the programs of a job, with random arguments, on the devices that are here.

    python benchmarks/programs.py --config configs/stage2_sf_1p3b.py batch=1 accumulation=1
    python benchmarks/programs.py --preset 14b [--streams 1]

Each program is called once to compile and `--calls` times to be timed; its arguments stay on the devices in between.
Values are random and small, which no time depends on.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lipforcing_jax.compiled_programs import keep_compiled_programs
from lipforcing_jax.models.presets import PRESETS
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel import sharding
from lipforcing_jax.planning import programs, serving
from lipforcing_jax.planning.programs import Job, Program
from lipforcing_jax.training.run import load_config


def job_of(options) -> tuple[Job, jax.sharding.Mesh]:
    """The job that the options name, over all devices."""
    count, platform = len(jax.devices()), jax.default_backend()
    if options.config is None:
        preset = PRESETS[options.preset]
        shape = meshes.MeshShape(tensor=count)
        mesh = meshes.make(shape, jax.devices())
        return serving.serving(preset, options.streams, mesh, platform), mesh
    config = load_config(options.config, options.overrides)
    preset = PRESETS[config.preset]
    mesh = meshes.make(meshes.automatic(count, config.batch, preset.dit.num_heads), jax.devices())
    return programs.training(config, preset, mesh, platform), mesh


class Arguments:
    """Arrays in the place of shapes. The same shape object gets the same array, as long as nobody has been given it."""

    def __init__(self):
        self.made: dict[int, jax.Array] = {}

    def of(self, program: Program) -> tuple[tuple, dict]:
        is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
        fill = lambda x: self.array(x) if is_shape(x) else x  # noqa: E731
        return jax.tree.map(fill, (program.args, program.static), is_leaf=is_shape)

    def array(self, shape: jax.ShapeDtypeStruct) -> jax.Array:
        known = self.made.get(id(shape))
        if known is None or known.is_deleted():
            self.made[id(shape)] = known = random_array(shape)
        return known


def random_array(x: jax.ShapeDtypeStruct) -> jax.Array:
    """Small positive numbers, which second moments may be too; zeros where counting or choosing is done."""
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros(x.shape, x.dtype, device=x.sharding)
    make = jax.jit(lambda key: 0.02 * jnp.abs(jax.random.normal(key, x.shape, x.dtype)), out_shardings=x.sharding)
    return make(jax.random.key(np.prod(x.shape, dtype=int) % 2**31))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--preset", choices=PRESETS)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if (options.config is None) == (options.preset is None):
        parser.error("give --config FILE or --preset NAME")
    keep_compiled_programs()
    job, mesh = job_of(options)
    arguments = Arguments()
    print(f"| program | ms a call, median of {options.calls} | first call (s) | memory, peak (GiB) |")
    print("|---|---|---|---|")
    for program in job.programs:
        seconds = []
        for _ in range(1 + options.calls):
            args, static = arguments.of(program)
            jax.block_until_ready(args)
            begin = time.perf_counter()
            with sharding.current(mesh):
                made = jax.block_until_ready(program.function(*args, **static))
            seconds.append(time.perf_counter() - begin)
            del args, static, made
        peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
        print(f"| {program.name} | {1000 * np.median(seconds[1:]):.1f} | {seconds[0]:.0f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
