"""Tasks beside one another: their order, what they print, and how they end together."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import side_by_side_work
from side_by_side_work import (
    die,
    note,
    open_pipe,
    refuse,
    run_two,
    show_environment,
    signal_parent,
    speak,
    wait_and_save,
)

from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.reproduction.side_by_side import Task, last_line, run_all


def test_one_worker_goes_by_needs_and_then_by_the_list():
    done: list[str] = []
    tasks = [
        Task(name, partial(done.append, name), after)
        for name, after in (("late", ("b",)), ("a", ()), ("b", ("gone before",)), ("c", ()))
    ]
    ended: dict[str, float] = {}
    run_all(tasks, ended.__setitem__, lambda text: None)
    assert done == ["a", "b", "late", "c"] == [*ended] and min(ended.values()) >= 0


def test_two_workers_work_at_the_same_time(tmp_path):
    """Each waits for the other, so one after the other they would never end."""
    os.mkfifo(tmp_path / "pipe")
    tasks = [Task(mode, partial(open_pipe, tmp_path / "pipe", mode)) for mode in ("r", "w")]
    last = Task("last", partial(note, tmp_path / "order", "last"), ("r", "w"))
    assert run_two([last, *tasks], tmp_path)[-1] == "last"


def test_what_a_task_prints_is_in_its_log(tmp_path, capfd):
    told: list[str] = []
    run_two([Task("a", partial(speak, "something")), Task("b", partial(speak, "else"))], tmp_path, told)
    for name, text in (("a", "something"), ("b", "else")):
        lines = (tmp_path / "logs" / f"{name}.log").read_text().splitlines()
        assert sorted(lines) == ["a library's word", f"said {text}"]
        assert any(line.startswith(f"{name}: begun") for line in told)
    assert "said" not in capfd.readouterr().out


def test_workers_are_begun_for_large_pages(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    run_two([Task("a", partial(show_environment, "GLIBC_TUNABLES"))], tmp_path)
    assert (tmp_path / "logs" / "a.log").read_text() == "glibc.malloc.hugetlb=1\n"
    assert "GLIBC_TUNABLES" not in os.environ


@pytest.mark.parametrize(("printed", "line"), [
    ("first\nsecond\n", "second"), ("x: 10%\rx: 20%\r", "x: 20%"), ("x" * 9000 + "\ny: 30%", "y: 30%"), ("", ""),
])  # fmt: skip
def test_progress_is_the_last_line_or_the_last_state_of_a_bar(tmp_path, printed, line):
    (tmp_path / "log").write_text(printed)
    assert last_line(tmp_path / "log") == line and last_line(tmp_path / "none") == ""


def test_an_error_ends_what_runs_beside_it_and_what_would_follow(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    tasks = [
        Task("training", partial(wait_and_save, tmp_path / "state", partial(open_pipe, pipe, "w"))),
        Task("refused", partial(refuse, pipe)),
        Task("after", partial(note, tmp_path / "order", "after"), ("refused",)),
    ]
    with pytest.raises(UserError, match="no such talker"):
        run_two(tasks, tmp_path)
    assert (tmp_path / "state").read_text() == "saved" and not (tmp_path / "order").exists()


def test_a_worker_that_was_killed_ends_the_run(tmp_path):
    with pytest.raises(UserError, match="process of teacher was killed.*teacher.log"):
        run_two([Task("teacher", die)], tmp_path)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_that_is_asked_to_stop_lets_its_trainings_save(tmp_path, name):
    tasks = [
        Task("teacher", partial(wait_and_save, tmp_path / "state", partial(signal_parent, name))),
        Task("student", partial(note, tmp_path / "order", "student"), ("teacher",)),
    ]
    with pytest.raises(Stopped, match="stopped in teacher; the same command goes on"):
        run_two(tasks, tmp_path)
    assert (tmp_path / "state").read_text() == "saved" and not (tmp_path / "order").exists()


def test_workers_end_with_a_run_that_is_killed(tmp_path):
    """Theirs too. Else the same command, given again, would work beside them in the same folder."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = (
        "from pathlib import Path; from functools import partial; import side_by_side_work as t\n"
        "if __name__ == '__main__':\n"
        f"    t.run_two([t.Task('a', partial(t.hold_open_beside, Path({str(pipe)!r})))], Path({str(tmp_path)!r}))\n"
    )
    (tmp_path / "program.py").write_text(program)
    folder = str(Path(side_by_side_work.__file__).parent)
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.Popen([sys.executable, str(tmp_path / "program.py")], env=os.environ | {"PYTHONPATH": path})
    with pipe.open() as end:
        assert end.readline() == "begun\n"
        run.kill()
        assert end.read() == ""  # Its other end is closed only when the last of them has ended.
    run.wait()
