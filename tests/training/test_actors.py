"""Networks of a run on a frozen base: who starts as what, and what is written."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets
from lipforcing_jax.training import actors
from lipforcing_jax.weights import samples, trained_part
from lipforcing_jax.weights.convert import Inputs, convert

SIZES = samples.small()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ml_collections.ConfigDict:
    folder = tmp_path_factory.mktemp("weights")
    given = samples.write_parts(folder / "files", SIZES, shards=1)
    judge = {
        "taehv": samples.write_taehv(folder / "files" / "taew2_1.pth", SIZES.taehv),
        "syncnet": samples.write_syncnet(folder / "files" / "syncnet_v2.model", SIZES.syncnet),
    }
    convert(Inputs(base=given.base, adapter=given.adapter, unmerged=True, **judge), folder / "w")
    return ml_collections.ConfigDict(
        {
            "stage": "self_forcing", "name": "stage2", "preset": "14b", "trained": "low_rank", "dtype": "bfloat16",
            "weights": str(folder / "w"), "lora_rank": SIZES.lora.rank, "lora_alpha": SIZES.lora.alpha, "start": "",
            "delta": str(given.delta), "steady_mouth": False,
        }
    )  # fmt: skip


def changed(config, **fields):
    return ml_collections.ConfigDict(config.to_dict() | fields)


def same(a: nnx.State, b: nnx.State) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: x.dtype == y.dtype and bool(jnp.all(x == y)), a, b)))


def test_student_and_teacher_start_as_the_adapter(config, tmp_path):
    preset = actors.preset_of(config)
    assert preset == replace(presets.by_name("14b"), dit=SIZES.student)
    found = actors.load(config, preset, tmp_path)
    assert same(found.student, found.teacher)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found.student)} == {"float32"}
    model = found.base.join(found.student)
    assert model.cfg == SIZES.student and model.dtype == jnp.bfloat16


def test_stage_2_goes_on_from_what_stage_1_wrote(config, tmp_path):
    """Or from a checkpoint of the reference's, as here."""
    preset = actors.preset_of(config)
    first = actors.load(changed(config, start=config.delta), preset, tmp_path)
    assert not same(first.student, first.teacher)
    written = actors.export(changed(config, name="stage1"), first.base, first.student, tmp_path)
    assert written == tmp_path / "stage1.safetensors"
    again = actors.load(changed(config, start="stage1.safetensors"), preset, tmp_path)
    assert same(again.student, first.student) and same(again.teacher, first.teacher)
    given = trained_part.read(Path(config.delta), SIZES.student, SIZES.lora)
    assert same(jax.tree.map(jnp.asarray, given), again.student)


def test_decoder_and_judge_come_from_the_same_folder(config, tmp_path):
    judge = actors.load_judge(config, actors.preset_of(config), tmp_path)
    assert judge.vae.cfg == SIZES.taehv and judge.net.cfg == SIZES.syncnet
    assert judge.vae.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"weights": ""}, "give weights=DIR, made by lipforcing convert --unmerged"),
        ({"weights": "nowhere"}, "no converted weights in nowhere"),
        ({"lora_rank": 128}, "has rank 8 and alpha 4, the experiment says rank 128 and alpha 4"),
        ({"preset": "15b"}, "Unknown preset '15b'"),
        ({"start": "stage1.safetensors"}, "There is no checkpoint at"),
        ({"steady_mouth": True}, "steady_mouth=True is for networks trained whole"),
        ({"trained": "half"}, "trained='half' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused(config, tmp_path, fields, sentence):
    wrong = changed(config, **fields)
    with pytest.raises(UserError) as refused:
        actors.load(wrong, actors.preset_of(wrong), tmp_path)
    assert sentence in str(refused.value)
