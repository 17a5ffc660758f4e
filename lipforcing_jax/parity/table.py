"""The parity table: every network beside its peer, one line per array."""

import importlib
import itertools
from collections.abc import Callable, Sequence

import jax

from lipforcing_jax.errors import UserError
from lipforcing_jax.parity.row import Row

NETWORKS = ("dit", "wan_vae", "taehv", "wav2vec2", "umt5", "syncnet")
LINE = "{:26s} {:24s} {:28s} {:>9s} {:>9s}  {}"


def run(networks: Sequence[str] = NETWORKS, full_width: bool = False, say: Callable[[str], None] = print) -> bool:
    """Prints the table as its rows come and returns whether all errors are within their tolerances.

    Raises:
      UserError: an unknown network, or a peer's library is not installed.
    """
    unknown = [name for name in networks if name not in NETWORKS]
    if unknown:
        raise UserError(f"No network is called {unknown[0]!r}; there are {', '.join(NETWORKS)}.")
    modules = [_module(name) for name in networks]
    say(LINE.format("network", "array", "beside", "error", "allowed", "").rstrip())
    found: list[Row] = []
    # Accelerators would multiply float32 in fewer bits.
    with jax.default_matmul_precision("highest"):
        for row in itertools.chain.from_iterable(module.rows(full_width) for module in modules):
            found.append(row)
            say(printed(row))
    failed = [row for row in found if not row.passed]
    say(f"{len(found)} arrays compared, {len(failed)} beyond their tolerance.")
    return not failed


def printed(row: Row) -> str:
    """The line of one row."""
    verdict = row.note if row.passed else f"FAILS {row.note}"
    numbers = (f"{row.error:.1e}", f"{row.tolerance:.1e}")
    return LINE.format(row.network, row.array, row.peer, *numbers, verdict).rstrip()


def _module(name: str):
    try:
        return importlib.import_module(f"lipforcing_jax.parity.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lipforcing_jax"):
            raise
        raise UserError(
            f"The parity table needs {error.name}, which is not installed; install the parity extra (see README)."
        ) from error
