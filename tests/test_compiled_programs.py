"""The flag by which programs are compiled quickly."""

import pytest

from lipforcing_jax import compiled_programs
from lipforcing_jax.compiled_programs import EMITTERS, compiling_quickly


@pytest.mark.parametrize("flags", ["", "--xla_force_host_platform_device_count=8"])
def test_the_flag_is_added_once(monkeypatch, flags):
    monkeypatch.setattr(compiled_programs, "version", lambda name: "0.10.2")
    quick = compiling_quickly(flags)
    assert quick.split() == [*flags.split(), f"{EMITTERS}=false"]
    assert compiling_quickly(quick) == quick


def test_what_somebody_asked_for_is_left(monkeypatch):
    monkeypatch.setattr(compiled_programs, "version", lambda name: "0.10.2")
    assert compiling_quickly(f"{EMITTERS}=true") == f"{EMITTERS}=true"


@pytest.mark.parametrize("version", ["0.11.0", "1.0"])
def test_a_jaxlib_that_may_not_know_the_flag_is_not_given_it(monkeypatch, version):
    monkeypatch.setattr(compiled_programs, "version", lambda name: version)
    assert compiling_quickly("") == ""
