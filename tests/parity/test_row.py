"""One comparison."""

import numpy as np
import pytest

from lipforcing_jax.parity.row import compare


def test_the_error_is_relative_to_the_largest_value():
    row = compare("net", "array", "peer", [1.0, -4.01], [1.0, -4.0], 3e-3)
    assert row.error == pytest.approx(0.0025) and row.passed
    assert not compare("net", "array", "peer", [1.0, -4.02], [1.0, -4.0], 3e-3).passed


def test_what_is_not_a_number_fails():
    assert not compare("net", "array", "peer", [np.nan, 1], [1, 1], 1e9).passed


def test_other_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        compare("net", "array", "peer", [[1, 2]], [1, 2], 1.0)
