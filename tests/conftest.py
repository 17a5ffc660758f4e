"""Options and fixtures shared by all tests, and the table of reference numbers."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lipforcing_jax.compiled_programs import EMITTERS, compiling_quickly

GOLDENS = Path(__file__).parent / "goldens"
GOLDEN = "golden"
COMPILED = pytest.StashKey[str]()
QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
"""Machine code is made quickly; what XLA fuses stays the same. Most programs of the tests run once or twice, and
compiling them takes longer than running them; as users do it, four times as long. Modules marked `optimised` have it
made as users do where XLA_FLAGS=--xla_cpu_use_fusion_emitters=true asks for the emitters that users have, and those
marked `optimised(always=True)` everywhere, but for the emitters, which a process can't change."""
os.environ.setdefault(QUICK, "true")  # before anything imports JAX
AS_USERS = f"{EMITTERS}=true" in os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = compiling_quickly(os.environ.get("XLA_FLAGS", ""))
gc.set_threshold(100_000, 20, 5)
"""Tracing makes many objects that live long, and looking through them again and again took a tenth of the time."""
LONGEST = (
    "test_simulated_devices", "test_goldens", "test_converted_sync", "test_simulated_hosts", "test_train_nano",
    "test_resume", "test_sync_net", "test_stream",
)  # fmt: skip
"""Modules that take a minute or more come first, so that no worker is left alone with one at the end."""


def pytest_addoption(parser):
    parser.addoption(
        "--goldens", action="append", default=[], metavar="DIR",
        help="folder of reference numbers in the format of tests/goldens/network or tests/goldens/components "
        "(repeatable; default: both)",
    )  # fmt: skip


def pytest_configure(config):
    """Processes that tests start find the programs that were compiled before them."""
    config.stash[COMPILED] = tempfile.mkdtemp(prefix="compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", config.stash[COMPILED])


def pytest_collection_modifyitems(items):
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


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


@pytest.fixture(autouse=True, scope="module")
def machine_code(request):
    """In modules marked `optimised` that ask for it always, or where the run does, programs and those of processes they
    start are compiled as users have them."""
    marker = request.node.get_closest_marker("optimised")
    if marker is None or not (AS_USERS or marker.kwargs.get("always")):
        yield
        return
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(QUICK, "false")
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", False)
        jax.clear_caches()  # of what modules before this one have compiled
        yield
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def golden_row(request):
    """Adds a row (case, precision, array, error, tolerance) to the closing table, from whichever process."""

    def add(case: str, precision: str, array: str, error: float, tolerance: float) -> None:
        request.node.user_properties.append((GOLDEN, [case, precision, array, float(error), float(tolerance)]))

    return add


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = [row for report in reports for name, row in report.user_properties if name == GOLDEN]
    if not rows:
        return
    terminalreporter.section("reference numbers")
    line = "{:34s} {:9s} {:44s} {:>9s} {:>9s} {:>8s}"
    terminalreporter.line(line.format("case", "precision", "array", "error", "tolerance", "margin"))
    for case, precision, array, error, tolerance in rows:
        margin = f"{tolerance / error:.1f}x" if error and tolerance else ("exact" if not error else "-")
        terminalreporter.line(line.format(case, precision, array[:44], f"{error:.1e}", f"{tolerance:.0e}", margin))
