"""What the recipe takes over from finished weights, and what it refuses."""

import pickle

import pytest

from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.models import presets
from lipforcing_jax.reproduction import run
from lipforcing_jax.reproduction.run import Notes, take_over
from lipforcing_jax.reproduction.stages import (
    BASE,
    EAR,
    FIRST_EAR,
    GIVEN,
    GOING_ON,
    LAST_EAR,
    LONG,
    SMALL,
    STUDENT,
    TRAININGS,
    WHOLE,
)
from lipforcing_jax.training import run as training
from lipforcing_jax.weights import networks

NAMES = (*networks.FILES.values(), networks.SYNC_NET)


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    return folder


def test_the_student_of_finished_weights_is_where_the_teacher_begins(weights, tmp_path):
    take_over(weights, tmp_path)
    assert (tmp_path / BASE).read_text() == networks.FILES["dit"]
    assert {name for name in NAMES if (tmp_path / name).exists()} == {*NAMES} - {networks.FILES["dit"]}


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_lack_a_part_are_refused(weights, tmp_path, name):
    (weights / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        take_over(weights, tmp_path)


def test_a_run_is_not_gone_on_with_from_other_weights(weights, tmp_path, monkeypatch):
    """Else the report would tell of weights with which the run did not begin."""
    monkeypatch.setattr(run, "train", lambda stage, size, workdir: (_ for _ in ()).throw(Stopped("asked")))
    again = lambda: run.reproduce(tmp_path, GOING_ON, tmp_path / "report", lambda text: None, weights)  # noqa: E731
    for _ in range(2):
        with pytest.raises(Stopped):
            again()
    (weights / networks.FILES["dit"]).write_text("another student")
    with pytest.raises(UserError, match=f"began with another {networks.FILES['dit']}"):
        again()


@pytest.mark.parametrize("size", [WHOLE, GOING_ON, SMALL], ids=lambda size: size.name)
def test_what_a_size_changes_exists(size):
    """Every change names a field of its experiment file, and every stage that is left out is one of the recipe."""
    assert {*size.left_out} <= {stage.name for stage in TRAININGS}
    configs = {stage.name: stage.config for stage in TRAININGS}
    configs |= {name: name for name in configs.values()}
    for name, changes in size.changes.items():
        assert {*changes} <= {*training.load_config(training.shipped(configs[name]), [])}


@pytest.mark.parametrize("size", [WHOLE, LONG, GOING_ON, SMALL], ids=lambda size: size.name)
def test_there_is_speech_for_every_pair(size):
    """Both clips of a pair speak, and the stages share what has been said."""
    config = {stage.config: run.config_of(stage, size) for stage in TRAININGS}
    for name in ("nano_talkers", "nano_syncnet"):
        assert config[name].speech_clips >= 2 * config[name].pairs
        assert config[name].speech_frames == config["nano_audio"].clip_frames


def test_a_run_from_weights_leaves_out_what_it_is_given():
    assert {*GIVEN} <= {*GOING_ON.left_out}


def test_a_stage_waits_for_the_networks_that_it_begins_with():
    """From nothing the student begins as the teacher; from finished weights both begin as the student among them, so
    they are trained beside each other."""
    needs = lambda size: {stage.name: {*run.needed(stage, size)} for stage in TRAININGS}  # noqa: E731
    assert needs(WHOLE)["stage1"] == {"talkers", "teacher"} and needs(GOING_ON)["stage1"] == {"talkers"}
    assert needs(GOING_ON)["teacher"] == needs(WHOLE)["teacher"] == {"talkers"}
    for size in (WHOLE, GOING_ON):
        assert needs(size)[STUDENT] == {"stage1", "teacher", "sync_net"}
        assert needs(size)["sw_dmd_reward_0833"] == {"stage1_0833", "teacher", "sync_net"}
    assert needs(WHOLE)[EAR] == {FIRST_EAR}


@pytest.mark.parametrize("size, ear", [(SMALL, "the last ear"), (GOING_ON, "the ear")], ids=["made", "taken over"])
def test_the_finished_student_has_the_last_ear_that_was_made(size, ear, tmp_path):
    """Where ears are taken over there is one only, and none of an earlier run is mistaken for a later one."""
    for file, content in (
        (f"{STUDENT}.safetensors", "the student"), (networks.FILES["vae"], "the autoencoder"),
        (networks.FILES["ear"], "the ear"), (f"{LAST_EAR}.safetensors", "the last ear"),
        (networks.SYNC_NET, "the SyncNet"),
    ):  # fmt: skip
        (tmp_path / file).write_text(content)
    run.deliver(presets.by_name(run.PRESET), size, tmp_path)
    delivered = {part: (tmp_path / run.PRESET / name).read_text() for part, name in networks.FILES.items()}
    assert delivered == {"dit": "the student", "vae": "the autoencoder", "ear": ear}


def test_a_run_goes_on_from_what_another_has_delivered(tmp_path):
    """Into its work folder goes all that it needs: the student, and the SyncNet that rewards it."""
    for file in (f"{STUDENT}.safetensors", f"{LAST_EAR}.safetensors", *NAMES):
        (tmp_path / file).write_text(file)
    run.deliver(presets.by_name(run.PRESET), WHOLE, tmp_path)
    (tmp_path / "next").mkdir()
    take_over(tmp_path / run.PRESET, tmp_path / "next")
    assert (tmp_path / "next" / BASE).read_text() == f"{STUDENT}.safetensors"
    assert (tmp_path / "next" / networks.FILES["ear"]).read_text() == f"{LAST_EAR}.safetensors"
    assert (tmp_path / "next" / networks.SYNC_NET).read_text() == networks.SYNC_NET


def test_a_stage_that_was_asked_to_stop_is_not_taken_for_finished(tmp_path, monkeypatch):
    """SIGTERM in the teacher: the stages after it are not begun, and the same command begins with the teacher."""
    begun = []
    monkeypatch.setattr(run, "speak", lambda stage, size, workdir: begun.append("speech"))

    def train(stage, size, workdir):
        begun.append(stage.name)
        if stage.name == "teacher":
            raise Stopped("teacher stopped at update 3 of 100")

    monkeypatch.setattr(run, "train", train)
    for _ in range(2):
        with pytest.raises(Stopped):
            run.reproduce(tmp_path, SMALL, tmp_path / "report", lambda text: None)
    assert begun == ["speech", "first_ear", "ear", "autoencoder", "talkers", "teacher", "teacher"]


def test_a_folder_of_another_recipe_is_refused(tmp_path, monkeypatch):
    """Else its stages would be taken for finished ones of this recipe."""
    monkeypatch.setattr(run, "speak", lambda stage, size, workdir: (_ for _ in ()).throw(Stopped("asked")))
    with pytest.raises(Stopped):
        run.reproduce(tmp_path, WHOLE, tmp_path / "report", lambda text: None)
    Notes(tmp_path, WHOLE.name, lambda text: None).finished("ear", 1.0)
    with pytest.raises(UserError, match="holds the whole recipe and this is the miniature one"):
        run.reproduce(tmp_path, SMALL, tmp_path / "report", lambda text: None)


@pytest.mark.parametrize("size", [WHOLE, GOING_ON, SMALL], ids=lambda size: size.name)
def test_everything_comes_after_what_it_needs(size, tmp_path):
    """Every name that is waited for is a task of the run, or was taken over; and no two tasks share a name."""
    tasks = run.everything(presets.by_name(run.PRESET), size, tmp_path)
    names = [task.name for task in tasks]
    assert len({*names}) == len(names)
    assert {name for task in tasks for name in task.after} - {*names} <= {*size.left_out, run.SPEECH}
    assert names[-1] == "speed" and {*tasks[-1].after} == {*names[:-1]}, "timed when nothing else is running"
    assert {f"compare_{student}" for student in size.students} <= {*names}
    assert pickle.loads(pickle.dumps(tasks)) is not None  # Workers are sent them.
