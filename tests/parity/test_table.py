"""The parity table: its rows pass, and it notices a wrong weight."""

import importlib

import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.errors import UserError
from lipforcing_jax.parity import table
from lipforcing_jax.parity.row import Row
from lipforcing_jax.weights import umt5_names, wav2vec2_names

# The others, whose peers are ours: test_peers_by_the_spec.py.
PEERS = {"dit": "diffusers", "wan_vae": "diffusers", "wav2vec2": "transformers", "umt5": "transformers"}


def needs(name: str) -> None:
    """Skips where the parity extra is not installed."""
    pytest.importorskip("torch")
    pytest.importorskip(PEERS[name])


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.mark.parametrize("name", PEERS)
def test_every_network_equals_its_peer(name):
    needs(name)
    row = next(iter(importlib.import_module(f"lipforcing_jax.parity.{name}").rows()))
    assert row.passed and row.network.startswith(name), row


@pytest.mark.parametrize("name, names, spoilt", [
    ("wav2vec2", wav2vec2_names, "feature_projection.projection.weight"),
    ("umt5", umt5_names, "blocks.0.ffn.fc2.weight"),
])  # fmt: skip
def test_one_wrong_number_fails(name, names, spoilt, monkeypatch, lines):
    needs(name)
    load = names.from_reference

    def load_wrongly(get, cfg):
        def spoil(key):
            value = get(key)
            value.flat[0] += 0.01 * (key == spoilt)
            return value

        return load(spoil, cfg)

    monkeypatch.setattr(names, "from_reference", load_wrongly)
    monkeypatch.setattr(f"lipforcing_jax.parity.{name}.bfloat16_drift", lambda *_, **__: [], raising=False)
    assert not table.run([name], say=lines.append)
    assert any("FAILS" in line for line in lines) and not lines[-1].endswith(" 0 beyond their tolerance.")


class Fixed:
    """A network whose rows are given."""

    def __init__(self, *errors: float):
        self.errors = errors

    def rows(self, full_width: bool):
        for error in self.errors:
            yield Row("net", "wide" if full_width else "small", "peer", error, 1e-5, "a note")


def test_the_table(monkeypatch, lines):
    monkeypatch.setattr(table, "_module", lambda name: Fixed(1e-6, 2e-5) if name == "dit" else Fixed(0.0))
    assert not table.run(["dit", "umt5"], full_width=True, say=lines.append)
    assert len(lines) == 5 and lines[-1] == "3 arrays compared, 1 beyond their tolerance."
    assert lines[1].split() == ["net", "wide", "peer", "1.0e-06", "1.0e-05", "a", "note"]
    assert [("FAILS" in line) for line in lines[1:4]] == [False, True, False]
    assert table.run(["umt5"], say=lines.append)


@pytest.mark.parametrize("errors, status", [((0.0,), 0), ((1.0,), 1), ((float("nan"),), 1)])
def test_the_commands_status(monkeypatch, capsys, errors, status):
    monkeypatch.setattr(table, "_module", lambda _: Fixed(*errors))
    assert main(["parity", "--network", "dit", "wan_vae"]) == status
    assert "2 arrays compared" in capsys.readouterr().out


def test_an_unknown_network_is_named(capsys):
    assert main(["parity", "--network", "dit", "unet"]) == 2
    assert "'unet'" in capsys.readouterr().err


def test_a_missing_library_is_named(monkeypatch, lines):
    """Before anything is printed or computed."""
    real = importlib.import_module

    def without_torch(name, *rest):
        if name.startswith("lipforcing_jax.parity."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_torch)
    with pytest.raises(UserError, match="needs torch.*parity extra"):
        table.run(["umt5"], say=lines.append)
    assert not lines
