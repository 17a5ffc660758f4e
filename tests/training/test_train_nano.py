"""`lipforcing train` from nothing: ear, eye, data and student of nano at the smallest size, and what they can do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lipforcing_jax import LipSyncer
from lipforcing_jax.cli import main
from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets
from lipforcing_jax.training.audio_encoder import cut
from lipforcing_jax.training.run import load_config, run
from lipforcing_jax.weights import networks

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = {
    "nano_audio": "clips=32 heldout_clips=32 clip_frames=13 steps=2 batch=2 frames=8 workers=0",
    "nano_vae": "clips=8 clip_frames=8 component_stride=1 speech_clips=32 speech_frames=13 steps=2 batch=1 frames=8",
    "nano_talkers": "pairs=4 heldout=1 looks=0 latent_frames=4 speech_clips=32 speech_frames=13 workers=0",
    "nano_df": "start= name=student steps=2 batch=1 frames=3 val_clips=1 steady_mouth=True other_mouth=1.0",
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A work folder in which all stages have run."""
    folder = tmp_path_factory.mktemp("nano")
    for name, fields in STAGES.items():
        main(["train", "--config", str(CONFIGS / f"{name}.py"), "--workdir", str(folder), *fields.split()])
    return folder


def test_every_stage_leaves_its_weights_and_its_record(workdir):
    for file, stage in zip(networks.FILES.values(), ("student", "tiny_vae", "audio"), strict=True):
        assert (workdir / file).is_file()
        assert (workdir / stage / "metrics.jsonl").read_text().count('"loss"') == 1


def test_the_weights_are_trained(workdir):
    """The head of the student begins at zero; two updates move it."""
    student = networks.load(presets.by_name("nano"), workdir).networks.dit
    assert 0 < float(np.abs(student.head.kernel[...]).max()) < 0.1


def test_a_student_is_shown_the_mouth_that_it_learnt_with(workdir, tmp_path):
    assert networks.load(presets.by_name("nano"), workdir).preset.steady_mouth
    for file in networks.FILES.values():
        save_file(load_file(workdir / file), tmp_path / file)  # says nothing of how it learnt
    assert not networks.load(presets.by_name("nano"), tmp_path).preset.steady_mouth


def test_an_ear_that_goes_on_is_read_as_before(workdir, tmp_path):
    """What makes its code and its mouth of what was heard stays, bit for bit; everything before that learns."""
    shutil.copy(workdir / "audio.safetensors", tmp_path / "former.safetensors")
    config = ["--config", str(CONFIGS / "nano_audio.py"), "--workdir", str(tmp_path), *STAGES["nano_audio"].split()]
    main(["train", *config, "start=former.safetensors", "warmup=0"])
    before, after = (load_file(tmp_path / f"{name}.safetensors") for name in ("former", "audio"))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert same == {name for name in before if name.split(".")[0] in ("norm", "code", "mouth")} and len(same) == 6
    with pytest.raises(UserError, match="copy the ear"):
        run(load_config(CONFIGS / "nano_audio.py", ["start=audio.safetensors"]), tmp_path)


def test_other_mouths_are_refused_where_none_is_held(workdir):
    with pytest.raises(UserError, match="give steady_mouth=True"):
        run(load_config(CONFIGS / "nano_df.py", ["other_mouth=1.0"]), workdir)


def test_a_cut_follows_the_sound_at_any_pace():
    """A ramp for a mouth, and a sound that is loud in the second half."""
    frames = 40
    clips = {
        "audio": np.repeat([0.0, 1.0], frames // 2 * 640)[None].astype(np.float32),
        "mouth": np.tile(np.linspace(0, 1, frames, dtype=np.float32)[:, None], (1, 1, 6)),
        "phones": np.repeat([3, 7], frames // 2)[None],
    }
    for pace in (0.8, 1.0, 1.2):
        sound, mouth, phones = cut(clips, 0, 10, 20, pace)
        assert sound.shape == (20 * 640,) and mouth.shape == (20, 6) and sound.dtype == mouth.dtype == np.float32
        change = round(10 / pace)
        assert abs(int(np.argmax(sound > 0.5)) / 640 - change) < 0.6 and abs(int(np.argmax(phones == 7)) - change) <= 1
        np.testing.assert_allclose(np.diff(mouth[1:, 0]), pace / (frames - 1), rtol=0.02)


def test_a_finished_run_is_not_begun_again(workdir):
    before = (workdir / "student" / "metrics.jsonl").read_text()
    fields = STAGES["nano_df"].split()
    main(["train", "--config", str(CONFIGS / "nano_df.py"), "--workdir", str(workdir), *fields])
    assert (workdir / "student" / "metrics.jsonl").read_text() == before


def test_the_weights_can_be_used(workdir):
    syncer = LipSyncer.from_preset("nano", weights=workdir)
    assert syncer.networks.dit.cfg == presets.by_name("nano").dit
