"""The teacher's stage on a data set of noise, at a size that compiles in a moment."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax import flow
from lipforcing_jax.data import builder
from lipforcing_jax.data.builder import Prompts
from lipforcing_jax.data.reader import Reading, read
from lipforcing_jax.data.sample import Facts
from lipforcing_jax.distill.base import EVERYTHING, split
from lipforcing_jax.distill.condition import predict_x0
from lipforcing_jax.media.mouth_mask import latent_mask, lips_cells
from lipforcing_jax.models import presets
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training import teacher
from lipforcing_jax.training.conditions import condition_of
from lipforcing_jax.training.run import load_config, run, shipped
from lipforcing_jax.training.teacher import VAL_LEVELS, Fixed
from lipforcing_jax.weights import networks, store

FRAMES = 3
FIELDS = ["preset=small", "steps=4", "save_every=2", "log_every=2", "batch=2", f"frames={FRAMES}", "val_clips=2"]
NANO = presets.by_name("nano")


@pytest.fixture(scope="module")
def small():
    """Nano with narrow networks and faces of 32 pixels."""
    dit = replace(NANO.dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4, freq_dim=16, audio_hidden=8)
    vae = replace(NANO.tiny_vae, encoder_stem=8, encoder_widths=(8, 8), decoder_widths=(8, 8), decoder_tail=8)
    return replace(NANO, name="small", face_size=32, dit=dit, tiny_vae=vae)


def clips(facts: Facts, count: int):
    """Named samples of noise."""
    rng = np.random.default_rng(count)
    latent = (facts.latent_frames, facts.cells, facts.cells, facts.channels)
    for i in range(count):
        target, masked, reference = (rng.standard_normal(latent).astype(np.float16) for _ in range(3))
        yield f"{i}", {
            "target": target, "first": target[:1], "masked": masked, "reference": reference, "prompt": "hello",
            "audio": rng.standard_normal((facts.frames, facts.audio_width)).astype(np.float16),
            "waveform": rng.integers(-99, 99, facts.frames * 640).astype(np.int16),
        }  # fmt: skip


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, small):
    """A work folder in which the stage has run."""
    folder = tmp_path_factory.mktemp("teacher")
    facts = Facts.of(small, FRAMES, "noise")
    prompts = Prompts(["hello"], np.zeros((1, small.dit.text_len, small.dit.text_dim)))
    builder.build(folder / "dataset", facts, prompts, {"train": clips(facts, 5), "val": clips(facts, 2)})
    store.save_module(folder / networks.FILES["vae"], drawn_network(lambda: TinyVAE(small.tiny_vae, rngs=nnx.Rngs(0))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "small", small)
        run(load_config(shipped("nano_teacher"), FIELDS), folder)
    return folder


def rows(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "teacher" / "metrics.jsonl").read_text().splitlines()]


def test_the_weights_are_a_trained_network_of_the_preset(workdir, small):
    """The head begins at zero; a few updates move it."""
    model = store.load_module(workdir / "teacher.safetensors", networks.makers(small)["dit"])
    assert 0 < float(jnp.abs(model.head.kernel[...]).max()) < 0.1
    assert store.read_metadata(workdir / "teacher.safetensors")["stage"] == "flow_matching"


def test_clips_not_trained_on_are_judged_at_every_save(workdir):
    judged = [row for row in rows(workdir) if "val_mouth_error_0.999" in row]
    assert [row["step"] for row in judged] == [2, 4]
    for level in VAL_LEVELS:
        assert judged[0][f"val_unheard_error_{level}"] > 0
    assert all(row["skipped_samples"] == 0 for row in rows(workdir) if "skipped_samples" in row)


def test_a_finished_run_is_not_begun_again(workdir, small, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", small)
    before = rows(workdir)
    run(load_config(shipped("nano_teacher"), FIELDS), workdir)
    assert rows(workdir) == before


@pytest.fixture(scope="module")
def judged(workdir, small):
    """The trained part of the run's teacher, what is fixed, and the held-out clips."""
    base, part = split(store.load_module(workdir / "teacher.safetensors", networks.makers(small)["dit"]), EVERYTHING)
    text = jnp.zeros((1, small.dit.text_len, small.dit.text_dim))
    mask = jnp.asarray(latent_mask(small.latent_size), jnp.float32)
    reading = Reading(batch=2, shuffle=False)
    return part, next(read(workdir / "dataset", "val", reading)), Fixed(base, mask, text, text, jnp.ones(16))


def test_sound_makes_a_difference_where_it_is_heard(judged):
    part, batch, fixed = judged
    numbers = teacher.validate(fixed.base, part, batch, fixed)
    silent = batch._replace(audio=np.zeros_like(batch.audio))
    unheard = teacher.validate(fixed.base, part, silent, fixed)
    for level in VAL_LEVELS:
        heard, deaf = numbers[f"val_mouth_error_{level}"], numbers[f"val_unheard_error_{level}"]
        assert heard != deaf
        assert unheard[f"val_mouth_error_{level}"] == unheard[f"val_unheard_error_{level}"] == deaf


def test_a_mouth_that_is_held_tells_nothing_of_its_movement(judged):
    part, batch, fixed = judged
    moved = batch._replace(ref_sequence=batch.ref_sequence[:, ::-1])
    told, other = (condition_of(b, fixed.mask, fixed.prompts, steady=FRAMES).ref_sequence for b in (batch, moved))
    lips = lips_cells(told.shape[2])
    assert 0 < lips.sum() < lips.size
    np.testing.assert_allclose(told[:, :, lips], other[:, :, lips], atol=1e-6)
    np.testing.assert_array_equal(told[:, :, ~lips], batch.ref_sequence[:, :, ~lips])
    errors = [teacher.validate(fixed.base, part, batch, fixed, steady) for steady in (None, FRAMES)]
    assert errors[0] != errors[1]


def test_errors_are_of_the_generated_cells(judged):
    part, batch, fixed = judged
    target, level = jnp.asarray(batch.target), VAL_LEVELS[1]
    t, told = jnp.full(2, level), condition_of(batch, fixed.mask, fixed.prompts)
    noisy = flow.add_noise(target, jax.random.normal(jax.random.key(0), target.shape), t)
    guess = jax.jit(predict_x0)(fixed.base.join(part), noisy, t, told)
    found = teacher.validate(fixed.base, part, batch, fixed)[f"val_mouth_error_{level}"]
    generated = np.asarray(fixed.mask) == 0
    assert 0 < generated.sum() < generated.size
    assert found == pytest.approx(float(jnp.mean((guess - target)[:, :, generated] ** 2)), rel=1e-4)
