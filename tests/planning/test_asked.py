"""What can be asked of a plan, and one sentence for what can't; nothing is compiled."""

import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "v5p:2x2x1"], "give --config FILE or --preset NAME"),
        (["--topology", "v9:2x2", "--preset", "14b"], "The topology 'v9:2x2' is not understood"),
        (["--topology", "v5e", "--preset", "14b"], "The topology 'v5e' is not understood"),
        (["--topology", "v5e:2x4", "--preset", "14b", "frames=3"], "there is none with --preset"),
    ],
)
def test_bad_questions(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_meshes_by_rule():
    """Streams go by width, clips by samples and then tokens."""
    serving, drawing = report.asked_serving("14b", 1), report.asked_serving("14b", 1, sampler=True)
    assert report.chosen(serving, 8) == MeshShape(tensor=8)
    assert report.chosen(drawing, 8) == MeshShape(sequence=8)


def test_likely_meshes_divide_everything():
    shapes = report.likely(report.asked_serving("1.3b", 4), 8)
    assert shapes[0] == MeshShape(fsdp=4, sequence=2)
    assert all(s.size == 8 and 12 % s.head_shares == 0 and 4 % s.fsdp == 0 for s in shapes)
