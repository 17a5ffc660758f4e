"""Options and fixtures shared by all tests."""

from pathlib import Path

GOLDENS = Path(__file__).parent / "goldens"


def pytest_addoption(parser):
    parser.addoption(
        "--goldens", action="append", default=[], metavar="DIR",
        help="folder of network reference numbers in the format of tests/goldens/network (repeatable)",
    )  # fmt: skip


def pytest_generate_tests(metafunc):
    if "golden_case" in metafunc.fixturenames:
        from golden_cases import load_cases

        folders = metafunc.config.getoption("goldens") or [str(GOLDENS / "network")]
        cases = [case for folder in folders for case in load_cases(Path(folder))]
        metafunc.parametrize("golden_case", cases, ids=[case.id for case in cases])
