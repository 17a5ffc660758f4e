"""The networks, the sampler and the components against numbers of the reference implementation.

`--goldens DIR` points at other folders of the same format. A kind that nobody knows is an error, not a skip.
"""

import importlib
import pkgutil

import golden_runs
import jax
import numpy as np
import pytest
from golden_cases import Case
from golden_runs import network
from golden_runs.component import Component

pytestmark = pytest.mark.golden
COMPONENT_KINDS = {m.name for m in pkgutil.iter_modules(golden_runs.__path__)} - {"network", "stage2", "component"}


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_golden_network(golden_case: Case, precision: str, golden_row):
    """One case of the network in one precision; the tolerances are the file's."""
    failed = []
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        for array, error, tolerance in network.run(golden_case, precision):
            golden_row(golden_case.id, precision, array, error, tolerance)
            if not error <= tolerance:
                failed.append(f"{array}: error {error:.2e} exceeds {tolerance:.0e}")
    assert not failed, "\n".join(failed)


def kind_of(component: Component) -> str:
    """The module that reproduces a component: the longest one whose name the component's begins with."""
    kinds = [k for k in COMPONENT_KINDS if component.name == k or component.name.startswith(k + "_")]
    if not kinds:
        raise ValueError(f"{component.id}: no one knows how to reproduce {component.name!r}")
    return max(kinds, key=len)


def test_golden_component(golden_component: Component, golden_row):
    """One component in float32; every stored array is an input or is reproduced."""
    module = importlib.import_module(f"golden_runs.{kind_of(golden_component)}")
    failed, left = [], {a for a in golden_component.arrays if not a.startswith(getattr(module, "INPUTS", ()))}
    with jax.default_matmul_precision("highest"):
        for name, ours, golden, tolerance in module.run(golden_component):
            error = largest_difference(ours, golden)
            golden_row(golden_component.id, "float32", name, error, tolerance)
            left -= {name, name.split(":")[0]}
            if not error <= tolerance:
                failed.append(f"{name}: error {error:.2e} exceeds {tolerance:.0e}")
    assert not failed, "\n".join(failed)
    assert not left, f"arrays that nothing reproduces: {sorted(left)}"


def largest_difference(ours, golden) -> float:
    ours, golden = np.asarray(ours), np.asarray(golden)
    assert ours.shape == golden.shape, f"shape {ours.shape}, the reference has {golden.shape}"
    if not ours.size:
        return 0.0
    return float(np.abs(ours.astype(np.float64) - golden.astype(np.float64)).max())


def test_an_unknown_kind_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no one knows"):
        kind_of(Component(tmp_path, "vaex"))
