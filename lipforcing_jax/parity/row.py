"""One line of a parity table."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """Largest difference between our array and the peer's, and what is allowed.

    `error` is the largest absolute difference divided by the peer's largest absolute value.
    """

    network: str
    array: str
    peer: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Also false where the error is not a number."""
        return self.error <= self.tolerance


def compare(network: str, array: str, peer: str, ours, theirs, tolerance: float, note: str = "") -> Row:
    """The row for two arrays [any shape]; `note` is printed beside it.

    Raises:
      ValueError: the shapes differ.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"{network} {array}: our shape is {ours.shape}, that of {peer} is {theirs.shape}")
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return Row(network, array, peer, error, tolerance, note)
