"""Plans on a page: what is said of serving, and what replaces what."""

from dataclasses import replace

import pytest

from lipforcing_jax.errors import UserError
from lipforcing_jax.parallel.mesh import MeshShape
from lipforcing_jax.planning import page, report
from lipforcing_jax.planning.plan import Need
from lipforcing_jax.planning.report import Plan


def need(program: str, seconds: float, total: float = 4.0, video: float | None = None) -> Need:
    parts = dict.fromkeys(("arguments", "temporaries", "output", "elsewhere"), total / 4)
    return Need(program, 10.0, True, total, total / 16, **parts, operations=1e12, intensity=9.0, sent={},
                seconds={"arithmetic": seconds, "memory": seconds / 2}, seconds_of_video=video)  # fmt: skip


@pytest.fixture
def plan() -> Plan:
    needs = [need("hear", 0.01), need("see", 0.1), need("chunk", 0.3, 6.0, video=12 / 25), need("draw", 0.2)]
    return Plan("serving of 1.3b", "v5e:1x1", MeshShape(), 1, [], needs)


@pytest.fixture
def empty(tmp_path):
    path = tmp_path / "pods.md"
    path.write_text(f"# Ours\n\n{page.BEGIN}\n{page.END}\n\nThe end.\n")
    return path


def test_speed_and_first_frame_cover_seeing_and_drawing(plan):
    """Twelve frames in 0.6 s; before the first of them two of three passes over the network."""
    assert report.chunk_seconds(plan) == pytest.approx(0.6)
    assert report.first_frame(plan) == pytest.approx(0.01 + 0.1 + 0.2 + 0.2)
    assert "see, chunk and draw: at most 20 frames a second" in plan.text()
    assert "First frame: after 0.510 s at least" in plan.text()


def test_a_chunk_alone_has_no_first_frame(plan):
    alone = replace(plan, needs=plan.needs[2:3])
    assert "chunk: at most 40 frames a second" in alone.text() and "First frame" not in alone.text()
    assert page.speeds(alone) == ("40 (chunk alone)", "", "31.6 / 0.32 s")


def test_a_record_is_the_plan(plan):
    assert report.of_record(plan.record()) == plan


def test_a_page_keeps_what_is_written_around_its_plans(plan, empty):
    page.add(empty, [plan])
    text = empty.read_text()
    assert text.startswith("# Ours\n") and text.endswith("The end.\n")
    assert "| serving of 1.3b | v5e:1x1 | data=1 | 1 | 6.0 of 16 |  | 20 | 0.51 | 31.6 / 0.32 s |" in text
    assert "### serving of 1.3b on v5e:1x1 (1 chips of 16 GiB)" in text


def test_plans_stand_in_the_order_of_their_jobs(plan, empty):
    """Whatever was planned first; small slices before large ones. What trains has the time of its programs."""
    training = replace(plan, name="stage2 of 14b", needs=[need("critic", 0.6), need("student", 0.2)])
    page.add(empty, [training, replace(plan, batch=4), plan])
    found = page.read(empty.with_suffix(".json"))
    assert [(p.name, p.batch) for p in found] == [(plan.name, 1), (plan.name, 4), (training.name, 1)]
    assert "| critic 0.60, student 0.20 |" in empty.read_text()


def test_new_programs_replace_old_ones_of_the_same_plan(plan, empty):
    page.add(empty, [replace(plan, needs=plan.needs[2:3])])
    page.add(empty, [replace(plan, needs=[need("chunk", 0.6, video=12 / 25), need("draw", 0.2)])])
    page.add(empty, [replace(plan, topology="v6e:1x1")])
    first, second = page.read(empty.with_suffix(".json"))
    assert [n.program for n in first.needs] == ["chunk", "draw"] and first.needs[0].least_seconds == 0.6
    assert second.topology == "v6e:1x1" and len(second.needs) == 4


def test_a_page_without_a_place_for_plans_is_refused(plan, tmp_path):
    with pytest.raises(UserError, match="must be a page with the lines"):
        page.add(tmp_path / "none.md", [plan])
