"""Compiles the programs of a job for a topology and says what each would need there."""

import re
import time
from dataclasses import asdict, dataclass

import jax

from lipforcing_jax.planning import hlo, operations
from lipforcing_jax.planning.chips import Chip
from lipforcing_jax.planning.programs import Job, Program

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """What one call of a program takes. Memory in GiB of one chip, `operations` of all chips together.

    `elsewhere` is what the job keeps in memory meanwhile. `seconds` are the least that the chip's published peaks allow
    for its share of the operations, for what matrix products and kernels read and write, and for what it sends; a real
    run takes longer. All but `total` is None where the program does not fit.
    """

    program: str
    compile_seconds: float
    fits: bool
    total: float
    share: float
    arguments: float | None = None
    temporaries: float | None = None
    output: float | None = None
    elsewhere: float | None = None
    operations: float | None = None
    intensity: float | None = None
    """Operations per byte read or written; None, as `sent`, where the compiler can't print its program."""
    sent: dict[str, float] | None = None
    """Bytes that one chip sends, by kind of collective."""
    seconds: dict[str, float] | None = None
    """By what limits: "arithmetic", "memory", "links"."""
    seconds_of_video: float | None = None

    @property
    def bottleneck(self) -> str:
        return max(self.seconds, key=self.seconds.get)

    @property
    def least_seconds(self) -> float:
        return self.seconds[self.bottleneck]

    def record(self) -> dict:
        found = asdict(self)
        return found | ({"bottleneck": self.bottleneck} if self.seconds else {})


def need(program: Program, job: Job, mesh: jax.sharding.Mesh, chip: Chip) -> Need:
    """Compiles one program, or finds by how much it does not fit."""
    elsewhere = bytes_elsewhere(program, job)
    with jax.set_mesh(mesh):
        traced = program.function.trace(*program.args, **program.static)
        began = time.perf_counter()
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            used = used_memory(str(error), bytes_given(program))
            if used is None:
                raise
            total = used / GIB + elsewhere / GIB
            return Need(program.name, time.perf_counter() - began, False, total, total / chip.memory_gib)
        took = time.perf_counter() - began
    memory, flow = compiled.memory_analysis(), traffic(compiled)
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    parts = [memory.argument_size_in_bytes, memory.temp_size_in_bytes, output, elsewhere]
    total = (sum(parts) + memory.generated_code_size_in_bytes) / GIB
    work, chips = operations.of_traced(traced) * program.copies, mesh.size
    seconds = {"arithmetic": work / chips / chip.flops}
    if flow is not None:
        seconds["memory"] = flow.memory / chip.memory_bandwidth
        seconds["links"] = sum(flow.sent.values()) / chip.link_bandwidth
    return Need(
        program.name, took, total <= chip.memory_gib, total, total / chip.memory_gib, *(p / GIB for p in parts),
        operations=work, intensity=flow and work / chips / max(flow.memory, 1), sent=flow and flow.sent,
        seconds=seconds, seconds_of_video=program.seconds_of_video,
    )  # fmt: skip


def traffic(compiled) -> hlo.Traffic | None:
    """What a program sends and reads; None where libtpu can't print it, as happens with fused asynchronous steps."""
    try:
        return hlo.traffic(compiled.as_text())
    except jax.errors.JaxRuntimeError:
        return None


def bytes_elsewhere(program: Program, job: Job) -> float:
    """Bytes of one chip that belong to the job's state and are no argument of this program."""
    given = {id(leaf) for leaf in jax.tree.leaves((program.args, program.static))}
    kept = {id(leaf): leaf for leaf in jax.tree.leaves(job.state)}  # Programs may share networks.
    return sum(bytes_on_chip(leaf) for one, leaf in kept.items() if one not in given)


def bytes_on_chip(leaf: jax.ShapeDtypeStruct) -> float:
    size = leaf.dtype.itemsize
    for length in leaf.sharding.shard_shape(leaf.shape):
        size *= length
    return size


def bytes_given(program: Program) -> float:
    """Bytes of one chip that a program's arguments take."""
    leaves = {id(leaf): leaf for leaf in jax.tree.leaves((program.args, program.static))}
    return sum(bytes_on_chip(leaf) for leaf in leaves.values() if isinstance(leaf, jax.ShapeDtypeStruct))


def used_memory(message: str, given: float) -> float | None:
    """Bytes that the compiler wanted, from its refusal; None for refusals of another kind.

    Where the temporaries alone pass the memory it counts only these, and `given`, the arguments' bytes, is added.
    """
    size = r"([\d.]+)([KMGT])"
    whole = re.search(rf"[Uu]sed {size} of {size} hbm", message)
    temporaries = re.search(rf"HLO temporaries \({size}\)", message)
    found = whole or temporaries
    if found is None:
        return None
    return float(found[1]) * 1024 ** (1 + "KMGT".index(found[2])) + (0 if whole else given)


def table(needs: list[Need]) -> str:
    """The needs of a job's programs as a Markdown table."""
    rows = [
        ("program", "compiled in s", "arguments", "temporaries", "output", "kept besides", "total GiB", "of memory",
         "operations", "per byte", "sent", "at least s", "limited by"),
        ("---",) * 13,
    ]  # fmt: skip
    for found in needs:
        start = (found.program, f"{found.compile_seconds:.0f}")
        end = (f"{found.total:.1f}", f"{found.share:.0%}" + ("" if found.fits else " (does not fit)"))
        if found.seconds is None:
            rows.append((*start, "", "", "", "", *end, "", "", "", "", ""))
            continue
        parts = (f"{p:.2f}" for p in (found.arguments, found.temporaries, found.output, found.elsewhere))
        sent, intensity = "unknown", ""
        if found.sent is not None:
            intensity = f"{found.intensity:.0f}"
            sent = ", ".join(f"{kind} {size / 1e9:.2f} GB" for kind, size in sorted(found.sent.items())) or "nothing"
        rows.append((*start, *parts, *end, f"{found.operations:.2e}", intensity, sent, f"{found.least_seconds:.3f}",
                     found.bottleneck))  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
