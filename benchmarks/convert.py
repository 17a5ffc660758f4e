"""Time and peak memory of `lipforcing convert` and of the way back, on a sample student of full size.

    python benchmarks/convert.py [--preset 1.3b] [--blocks N] [--folder DIR]

Writes a checkpoint in the layout of the released student (2.8 GB at 1.3B), converts it, exports the result, compares
the exported file with the first one bit by bit, and deletes everything. Every step is a process of its own; its peak
memory is the highest resident set, which contains the pages of the mapped file. `--blocks` makes a network of the
preset's width with fewer blocks, for those whose disk doesn't hold 28.6 GB twice.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WRITE = """
import sys, pathlib, dataclasses
from lipforcing_jax.weights import samples
path, preset, blocks = sys.argv[1:]
cfg = samples.published(preset).student
samples.write_student(pathlib.Path(path), dataclasses.replace(cfg, num_layers=int(blocks) or cfg.num_layers))
"""


class Measured(NamedTuple):
    """Seconds and bytes."""

    seconds: float
    memory: int


def run(*arguments) -> Measured:
    """Python with these arguments, in a process of its own. This one stays small: a child starts with its peak.

    Raises:
      SystemExit: it failed.
    """
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{arguments[:3]} failed with status {os.waitstatus_to_exitcode(status)}")
    return Measured(time.perf_counter() - begin, used.ru_maxrss * 1024)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1.3b", choices=("1.3b", "14b"))
    parser.add_argument("--blocks", type=int, default=0, help="instead of all blocks of the preset; at least 4")
    parser.add_argument("--folder", type=Path, help="where there is room (default: the system's temporary folder)")
    options = parser.parse_args()
    title = f"{options.preset}, {options.blocks or 'all'} blocks"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(title, options.preset, options.blocks, Path(folder))


def measure(title: str, preset: str, blocks: int, folder: Path) -> None:
    """Prints the rows of one student."""
    lipforcing = ("-m", "lipforcing_jax", "convert")
    student = folder / "student.pth"
    written = run("-c", WRITE, student, preset, blocks)
    size, before = student.stat().st_size, digest(student)
    converted = run(*lipforcing, "--student", student, "--out", folder / "converted")
    student.unlink()
    exported = run(*lipforcing, "--export", "--from", folder / "converted", "--out", folder / "back")
    (back,) = (folder / "back").iterdir()
    same = "equal bit by bit" if digest(back) == before else "DIFFERENT"
    print(f"{title}: {size / 1e9:.2f} GB; what comes back is {same}")
    print("| student | step | seconds | GB/s | peak memory (GB) |")
    print("|---|---|---|---|---|")
    for step, found in (("write the sample", written), ("convert", converted), ("export", exported)):
        speed = size / 1e9 / found.seconds
        print(f"| {title} | {step} | {found.seconds:.1f} | {speed:.2f} | {found.memory / 1e9:.2f} |")


if __name__ == "__main__":
    main()
