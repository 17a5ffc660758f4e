"""What may be asked for, what is refused, and what a job consists of."""

from dataclasses import replace

import jax
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel import mesh as meshes
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import asked, checks, estimate
from lipforcing_jax.training.run import load_config, shipped


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "v5p:2x2x1"], "give --config FILE or --preset NAME"),
        (["--preset", "14b"], "--topology SLICE"),
        (["--topology", "v9:2x2", "--preset", "14b"], "The topology 'v9:2x2' is not understood"),
        (["--topology", "v5e", "--preset", "14b"], "The topology 'v5e' is not understood"),
        (["--topology", "v5e:2x4", "--preset", "14b", "frames=3"], "there is none with --preset"),
        (["--topology", "v5e:2x4", "--preset", "14b", "--suggest", "--mesh", "tensor=8"], "without --mesh and --count"),
    ],
)
def test_bad_questions(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_meshes_by_rule():
    """Streams go by width, clips by samples and then tokens."""
    assert asked.chosen(asked.streaming("14b", 1), 8) == MeshShape(tensor=8)
    assert asked.chosen(asked.streaming("1.3b", 4), 8) == MeshShape(data=4, tensor=2)
    assert asked.chosen(asked.sampling("14b", 1), 8) == MeshShape(sequence=8)


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(MeshShape(), jax.devices()[:1])


def test_a_stream_is_seen_sampled_and_drawn(mesh):
    """Counted, not compiled; the student's work is the same without the others, and two streams are twice the work."""
    job = asked.streaming("nano", 1)
    one = job.job(1, mesh)
    counted = {p.name: estimate.count(p, one, mesh) for p in one.programs}
    assert list(counted) == ["see", "chunk", "draw"] and all(c.operations > 0 for c in counted.values())
    assert max(c.held for c in counted.values()) == pytest.approx(min(c.held for c in counted.values()))
    two = replace(job, only=("chunk",)).job(2, mesh)
    assert [p.name for p in two.programs] == ["chunk"]
    assert estimate.count(two.programs[0], two, mesh).operations == pytest.approx(2 * counted["chunk"].operations)


def test_large_students_hear_beforehand(mesh):
    assert [p.name for p in asked.streaming("1.3b", 1, layers=4).job(1, mesh).programs] == [
        "hear", "see", "chunk", "draw",
    ]  # fmt: skip


def test_unknown_programs_are_refused(mesh):
    with pytest.raises(UserError, match="has no program 'sea'; its programs are hear, see, chunk, draw"):
        replace(asked.streaming("1.3b", 1, layers=4), only=("sea",)).job(1, mesh)


def test_recomputing_is_searched_where_a_stage_can_be_told():
    for name in ("stage1_df_14b", "stage2_sf_14b"):
        assert asked.training(load_config(shipped(name), [])).remat == ("none", "dots", "full")


def test_the_list_of_checks_names_programs_that_exist():
    found = [(check.asked().name, check.program, check.slice) for check in checks.CHECKS]
    assert found == [
        ("serving of 1.3b", "chunk", "v5e:1x1"),
        ("serving of 14b", "chunk", "v5e:2x4"),
        ("stage2 of 14b", "student", "v5p:2x2x1"),
    ]
