"""A run's numbers over time: lines of JSON for programs, TensorBoard for people."""

import json
import resource
import sys
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np

from lipforcing_jax.errors import UserError


class MetricsLog:
    """Collects the metrics of single updates and writes their means, or sums where they count something.

    Metrics that only some updates have, such as the student's, are averaged over those.
    """

    def __init__(self, folder: Path):
        from tensorboardX import SummaryWriter  # Takes seconds, and not all that imports this module trains.

        self.path = folder / "metrics.jsonl"
        self.board = SummaryWriter(str(folder / "tensorboard"))
        self.seen: dict[str, list] = defaultdict(list)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_) -> None:
        self.board.close()

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Remembers one update's metrics without waiting for them."""
        for name, value in metrics.items():
            self.seen[name].append(value)

    def collect(self) -> dict[str, float]:
        """Means and sums since the last call; waits for the values."""
        values = {name: np.asarray(jax.device_get(seen), np.float64) for name, seen in self.seen.items()}
        self.seen.clear()
        return {name: float(v.sum() if counts(name) else v.mean()) for name, v in values.items()}

    def write(self, step: int, row: dict[str, float]) -> None:
        """One line, and one point of every curve.

        Raises:
          UserError: the line can't be written.
        """
        try:
            # A mounted bucket holds what was written when the file is closed.
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **row}) + "\n")
        except OSError as error:
            raise UserError(
                f"Metrics could not be written to {self.path}: {error.strerror}; mend that and start the same command "
                "again: it goes on from the newest checkpoint."
            ) from error
        for name, value in row.items():
            self.board.add_scalar(name, value, step)
        self.board.flush()


def counts(name: str) -> bool:
    """Whether a metric counts what was left out."""
    return name.startswith("skipped")


def memory_gb() -> float:
    """Largest memory so far: of the first accelerator, or of this process where there is none."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
