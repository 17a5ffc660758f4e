"""The notebook, as far as it is seen without running it; .ci/run executes it."""

import ast
from pathlib import Path

import nbformat

NOTEBOOK = nbformat.read(Path(__file__).parents[2] / "launch" / "colab.ipynb", as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]


def test_it_is_valid_and_holds_no_outputs():
    nbformat.validate(NOTEBOOK)
    assert all(not cell.outputs and cell.execution_count is None for cell in CODE)


def test_its_cells_are_plain_python():
    """A failing shell escape would go unseen, and a failing `lipforcing(...)` ends the notebook."""
    for cell in CODE:
        ast.parse(cell.source)


def test_it_shows_every_part():
    source = "\n".join(cell.source for cell in CODE)
    for part in ('"demo"', '"sync"', '"--miniature"', "find_spec", "files.upload"):
        assert part in source
