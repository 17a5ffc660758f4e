"""The TPU VM script from attempt to attempt, with stand-ins for gcloud and git."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "tpu_vm.sh"
# Answers from files: `states` holds what describe says, `ends` what trainings end with, one line for each.
GCLOUD = r"""#!/usr/bin/env bash
cd "$FOLDER"
next() { head -n 1 "$1"; [[ $(wc -l <"$1") == 1 ]] || sed -i 1d "$1"; }
echo "${*:3:2} ${*: -1}" >>calls
case "$*" in
*describe*) state=$(next states); [[ $state != MISSING ]] && echo "$state" ;;
*on_host.sh*) next ends >ended; exit "$(cat ended)" ;;
*--output-directory=*) for a; do [[ $a != --output-directory=* ]] || d=${a#*=}; done
  echo "on_host: ended with $(cat ended)" >"$d/0.log" ;;
esac
"""


@pytest.fixture
def attempt(tmp_path):
    """Runs the script; returns status, errors, and which gcloud commands were called."""
    for name, text in (("gcloud", GCLOUD), ("git", "#!/bin/sh\n"), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(states: list[str], ends: list[int], *more: str) -> tuple[int, str, list[str]]:
        (tmp_path / "states").write_text("\n".join(states) + "\n")
        (tmp_path / "ends").write_text("\n".join(map(str, ends)) + "\n")
        done = subprocess.run(
            ["bash", SCRIPT, "--name", "lips", "--project", "p", "--zone", "z", "--accelerator-type", "v6e-8",
             "--bucket", "b", "--logs", "logs", *more, "--", "--config", "a.py", "--workdir", "/mnt/bucket/w"],
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FOLDER": str(tmp_path)},
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        calls = [" ".join(line.split()[:2]) for line in (tmp_path / "calls").read_text().splitlines()]
        return done.returncode, done.stderr, [c for c in calls if c.startswith("queued") and "describe" not in c]

    return run


CREATE, DELETE = "queued-resources create", "queued-resources delete"


def test_a_slice_is_waited_for_and_given_back(attempt, tmp_path):
    states = ["MISSING", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    assert attempt(states, [0], "--delete") == (0, "", [CREATE, DELETE])
    assert (tmp_path / "logs" / "attempt_1" / "0.log").read_text() == "on_host: ended with 0\n"


def test_a_slice_that_is_there_is_taken(attempt):
    assert attempt(["ACTIVE"], [0]) == (0, "", [])


def test_after_a_preemption_it_queues_again(attempt):
    status, err, calls = attempt(["ACTIVE", "SUSPENDED", "SUSPENDED", "MISSING", "ACTIVE"], [143, 0])
    assert status == 0 and calls == [DELETE, CREATE] and "attempt 1 has ended" in err


def test_a_refused_run_is_not_started_again(attempt):
    status, err, _ = attempt(["ACTIVE"], [2])
    assert status == 2 and "the run was refused" in err and err.count("\n") == 1


def test_attempts_have_an_end(attempt):
    status, err, _ = attempt(["ACTIVE"], [1], "--attempts", "2")
    assert status == 1 and "not finished after 2 attempts" in err


def test_a_refused_request_ends_it(attempt):
    status, err, calls = attempt(["MISSING", "FAILED"], [0])
    assert status == 2 and "the queue has refused lips" in err and calls == [CREATE]
