"""What a compiled program sends between chips and reads from memory, from its text.

The text is that of one chip. A loop's body counts as often as the loop runs, which its condition tells by the number
that it compares with; a loop without such a number counts once, and so does every branch of a condition.
"""

import math
import re
from collections import defaultdict
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8,
         "u64": 8, "f64": 8, "s4": 0.5, "u4": 0.5, "f8e4m3fn": 1, "f8e5m2": 1}  # fmt: skip
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
KERNEL = 'custom_call_target="tpu_custom_call"'
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)|(?:branch_computations|called_computations)=\{([^}]*)\}"
)


class Instruction(NamedTuple):
    """One line: the result's name and shape, what is done, and the rest of the text."""

    name: str
    shape: str
    kind: str
    rest: str


class Traffic(NamedTuple):
    """Of one chip: bytes sent by kind of collective, and bytes that matrix products and kernels read and write."""

    sent: dict[str, float]
    memory: float


def traffic(text: str) -> Traffic:
    """Sums over a whole program."""
    computations, entry = parse(text)
    often = multiplicities(computations, entry)
    sent: dict[str, float] = defaultdict(float)
    memory = 0.0
    for name, instructions in computations.items():
        sizes = {i.name: size_of(i.shape) for i in instructions}
        for instruction in instructions:
            kind = instruction.kind.removesuffix("-start")
            if kind in COLLECTIVES:
                sent[kind] += often[name] * sent_bytes(kind, instruction, sizes)
            elif instruction.kind in ("convolution", "dot") or KERNEL in instruction.rest:
                operands = operands_of(instruction.rest)
                memory += often[name] * (sizes[instruction.name] + sum(sizes.get(o, 0) for o in operands))
    return Traffic(dict(sent), memory)


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Instructions of every computation, and the name of the one that the program starts with."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if (begun := _COMPUTATION.match(line)) and "=" not in line.split("(")[0]:
            current = computations.setdefault(begun[2], [])
            entry = begun[2] if begun[1] else entry
        elif current is not None and (found := _INSTRUCTION.match(line)):
            current.append(Instruction(*found.groups()))
    return computations, entry


def multiplicities(computations: dict[str, list[Instruction]], entry: str) -> dict[str, float]:
    """How often every computation runs."""
    calls: dict[str, list[tuple[str, float]]] = {name: [] for name in computations}
    for name, instructions in computations.items():
        for instruction in instructions:
            if instruction.kind.endswith(("-done", "-update")):
                continue
            times = trip_count(computations, instruction) if instruction.kind == "while" else 1
            for one, several in _CALLED.findall(instruction.rest):
                for called in [one] if one else re.findall(r"[\w.\-]+", several):
                    if called in computations:
                        calls[name].append((called, times))
    often: dict[str, float] = defaultdict(float)

    def visit(name: str, times: float) -> None:
        often[name] += times
        for called, more in calls[name]:
            visit(called, times * more)

    visit(entry, 1.0)
    return often


def trip_count(computations: dict[str, list[Instruction]], loop: Instruction) -> int:
    """How often a loop runs: the number in its condition over the step of what is compared with it."""
    condition, body = (re.search(rf"{part}=%?([\w.\-]+)", loop.rest)[1] for part in ("condition", "body"))
    numbers = constants(computations.get(condition, []))
    if not numbers:
        return 1
    read = [found[1] for i in computations[condition] if (found := re.search(r"index=(\d+)", i.rest))]
    return math.ceil(max(numbers.values()) / step(computations.get(body, []), int(read[0]) if read else 0))


def step(body: list[Instruction], index: int) -> int:
    """What a loop adds to the number at `index` of its state: 2 where the compiler has unrolled it twice."""
    by_name, numbers = {i.name: i for i in body}, constants(body)
    roots = [i for i in body if i.kind == "tuple"]
    results = operands_of(roots[-1].rest) if roots else []
    if index >= len(results):
        return 1
    last = by_name.get(results[index])
    while last is not None and last.kind in ("copy", "bitcast"):
        last = by_name.get(operands_of(last.rest)[0])
    if last is None or last.kind != "add":
        return 1
    return next((numbers[name] for name in operands_of(last.rest) if numbers.get(name)), 1)


def constants(instructions: list[Instruction]) -> dict[str, int]:
    """Integers by the names that they have in a computation."""
    found = ((i.name, re.match(r"(\d+)\)", i.rest)) for i in instructions if i.kind == "constant")
    return {name: int(value[1]) for name, value in found if value}


def size_of(shape: str) -> float:
    """Bytes of an array, or of all arrays of a tuple."""
    return sum(BYTES[kind] * math.prod(int(n) for n in sizes.split(",") if n)
               for kind, sizes in _SHAPE.findall(shape) if kind in BYTES)  # fmt: skip


def operands_of(rest: str) -> list[str]:
    return re.findall(r"%([\w.\-]+)", rest.split(")")[0])


def sent_bytes(kind: str, instruction: Instruction, sizes: dict[str, float]) -> float:
    """What one chip sends in a collective over a ring of its group."""
    entering = sum(sizes.get(name, 0) for name in operands_of(instruction.rest))
    if kind == "collective-permute":
        return entering
    others = group_size(instruction.rest) - 1
    share = others / (others + 1)
    return {
        "all-gather": entering * others, "all-reduce": 2 * entering * share,
        "reduce-scatter": entering * share, "all-to-all": entering * share,
    }[kind]  # fmt: skip


def group_size(rest: str) -> int:
    """Chips that take part together. Written as lists, as an array's shape, or as axes of a mesh."""
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=", rest):
        return int(found[1].split(",")[-1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\](?:<=\S+)? \{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", found[2]) if name in sizes)
    return 1
