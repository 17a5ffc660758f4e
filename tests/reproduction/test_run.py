"""What the recipe takes over from finished weights, and what it refuses."""

import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.reproduction.run import take_over
from lipforcing_jax.reproduction.stages import BASE, GIVEN, GOING_ON, TRAININGS
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


def test_what_a_run_from_weights_changes_exists():
    """Every change names a field of its experiment file, and every stage that is left out is one of the recipe."""
    assert {*GIVEN} <= {stage.name for stage in TRAININGS}
    for name, changes in GOING_ON.changes.items():
        assert {*changes} <= {*training.load_config(training.shipped(name), [])}
