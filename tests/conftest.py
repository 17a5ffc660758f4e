"""Options and fixtures shared by all tests, and the table of reference numbers."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent / "goldens"
TABLE = pytest.StashKey[list]()
COMPILED = pytest.StashKey[str]()


def pytest_addoption(parser):
    parser.addoption(
        "--goldens", action="append", default=[], metavar="DIR",
        help="folder of reference numbers in the format of tests/goldens/network or tests/goldens/components "
        "(repeatable; default: both)",
    )  # fmt: skip


def pytest_configure(config):
    """Processes that tests start find the programs that were compiled before them."""
    config.stash[TABLE] = []
    config.stash[COMPILED] = tempfile.mkdtemp(prefix="compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", config.stash[COMPILED])


def pytest_unconfigure(config):
    shutil.rmtree(config.stash[COMPILED], ignore_errors=True)


def pytest_generate_tests(metafunc):
    if not {"golden_case", "golden_component"} & set(metafunc.fixturenames):
        return
    from golden_cases import load_folders

    given = metafunc.config.getoption("goldens")
    folders = [Path(f) for f in given] or [GOLDENS / "network", GOLDENS / "components"]
    cases, components = load_folders(folders)
    found = {"golden_case": cases, "golden_component": components}
    for fixture in found.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(fixture, found[fixture], ids=[case.id for case in found[fixture]])


@pytest.fixture
def golden_table(request):
    """Collects a row (case, precision, array, error, tolerance) for the closing table."""
    return request.config.stash[TABLE]


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[TABLE]
    if not rows:
        return
    terminalreporter.section("reference numbers")
    line = "{:34s} {:9s} {:44s} {:>9s} {:>9s} {:>8s}"
    terminalreporter.line(line.format("case", "precision", "array", "error", "tolerance", "margin"))
    for case, precision, array, error, tolerance in rows:
        margin = f"{tolerance / error:.1f}x" if error and tolerance else ("exact" if not error else "-")
        terminalreporter.line(line.format(case, precision, array[:44], f"{error:.1e}", f"{tolerance:.0e}", margin))
