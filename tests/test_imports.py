"""The house's rule: imports go downward only (docs/architecture.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lipforcing_jax"
LEVELS = [
    {"models", "flow", "options", "parallel", "whole_file", "work_folder", "compiled_programs", "processes"},
    {"distill", "sampling", "media", "data", "weights", "report", "listening"},
    {"pipeline", "clips", "training", "evaluation", "parity"},
    {"reproduction", "planning"},
    {"cli", "cli_data", "cli_reproduce", "cli_weights", "cli_plan", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of our package that a module imports anywhere, also inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively, which hides the room"
            whole = node.module == "lipforcing_jax"
            names = [f"lipforcing_jax.{a.name}" for a in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("lipforcing_jax.")}
    return rooms - {"errors", "__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward(path):
    room = room_of(path)
    if room in ("__init__", "errors"):
        return
    assert room in LEVEL, f"{room} is not a room of the house; give it a level"
    upward = {r for r in imported_rooms(path) if LEVEL[r] > LEVEL[room]}
    assert not upward, f"{path.relative_to(PACKAGE)} imports upward: {sorted(upward)}"
    if room == "models":
        assert imported_rooms(path) <= {"models", "parallel"}


def test_the_command_answers_before_it_loads_the_networks():
    """`--help` and wrong arguments need none of the heavy libraries."""
    heavy = {"jax", "flax", "cv2", "av", "scipy", "numpy"}
    code = f"import sys, lipforcing_jax.cli; print(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_rule_is_not_empty():
    assert len(MODULES) > 40 and any(imported_rooms(p) for p in MODULES)
