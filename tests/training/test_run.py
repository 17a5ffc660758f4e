"""Experiment files: what is typed on the command line becomes a field of the right type, or one sentence."""

import jax
import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.training.run import load_config, run, shipped

FIELDS = {
    "stage": "self_forcing", "steps": 5, "lr": 1e-5, "remat": True, "t_list": (0.999, 0.769, 0.0),
    "windows": ((7, 1), (10, 1)), "reward_clamp": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict({FIELDS!r})\n")
    return path


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("steps=7", 7),
        ("lr=2e-6", 2e-6),
        ("remat=false", False),
        ("remat=True", True),
        ("stage=audio=1", "audio=1"),
        ("t_list=0.999,0.833,0", (0.999, 0.833, 0)),
        ("t_list=(0.5,)", (0.5,)),
        ("windows=((7, 1), (9, 3))", ((7, 1), (9, 3))),
        ("windows=[[7, 1]]", ((7, 1),)),
        ("reward_clamp=-1,4.5", (-1, 4.5)),
        ("reward_clamp=none", None),
    ],
)
def test_an_override_has_its_field_s_type(file, override, value):
    name = override.split("=")[0]
    config = load_config(file, [override])
    assert config[name] == value and type(config[name]) is type(value)
    assert {n: v for n, v in config.items() if n != name} == {n: v for n, v in FIELDS.items() if n != name}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("stepz=7", "has no field 'stepz'; its fields are lr, remat"),
        ("steps=many", "steps=many does not fit small.py"),
        ("steps=1.5", "steps=1.5 does not fit small.py"),
        ("remat=0", "it takes true or false"),
        ("t_list=0.5", "several numbers separated by commas"),
        ("t_list=0.999;0", "numbers separated by commas"),
        ("t_list=", "numbers separated by commas"),
        ("t_list=0.999,'a'", "'a' is no number"),
        ("windows=((7, True),)", "True is no number"),
        ("reward_clamp=print()", "numbers separated by commas"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(file, override, sentence):
    with pytest.raises(UserError) as refused:
        load_config(file, [override])
    assert sentence in str(refused.value) and str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_several_processes_are_refused_by_a_stage_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="'tiny_vae' trains in one process"):
        run(load_config(shipped("nano_vae"), []), tmp_path)
    assert not list(tmp_path.iterdir())
