"""The launch scripts say what they would do, with every argument whole, and one sentence where they can't do it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
STARTED = [path for path in SCRIPTS if path.name != "common.sh"]
ODD = 'it\'s; a $(touch gone) "project" & <é>'
TRAINING = ["--config", "configs/stage2_sf_14b.py", "--workdir", "/mnt/bucket/runs/14b", f"dataset={ODD}", "t=(1, 2)"]
ARGUMENTS = {
    "tpu_vm.sh": {
        "name": "lips", "project": ODD, "zone": "us-east5-a", "accelerator-type": "v5p-8", "bucket": "clips",
    },
    "tpu_host.sh": {"bucket": ODD},
    "xpk.sh": {
        "name": "lips", "project": ODD, "zone": "us-east5-a", "cluster": "c", "tpu-type": "v5p-8",
        "image": "r/lipforcing", "storage": "clips",
    },
    "jobset.sh": {
        "name": "lips", "image": ODD, "bucket": "clips", "accelerator": "tpu-v5p-slice", "topology": "2x2x1",
        "hosts": "1",
    },
    "slurm.sh": {},
    "on_host.sh": {},
}  # fmt: skip
"""What each script needs."""


def run(name: str, *arguments: str, folder: Path, path: str | None = None) -> tuple[int, str, str]:
    """Status, output and errors of a script, in a folder and with programs of one's own."""
    environment = {"PATH": path or os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", str(LAUNCH / name), *arguments], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def options(name: str, /, **changes: str) -> list[str]:
    return [part for option, value in (ARGUMENTS[name] | changes).items() for part in (f"--{option}", value)]


def printed(name: str, *more: str, folder: Path) -> list[list[str]]:
    """The commands of a dry run, apart; nothing may have been called or made."""
    follows = [] if name == "tpu_host.sh" else ["--", *TRAINING]
    status, out, err = run(name, *options(name), *more, "--dry-run", *follows, folder=folder)
    assert status == 0 and err == "" and list(folder.iterdir()) == []
    return [shlex.split(line) for line in out.splitlines() if line and not line.startswith("#")]


def test_shellcheck_finds_nothing():
    checker = Path(sys.executable).with_name("shellcheck")
    files = [*SCRIPTS, LAUNCH.parent / ".ci" / "run"]
    done = subprocess.run([checker, "-x", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert len(SCRIPTS) == len(ARGUMENTS) + 1


@pytest.mark.parametrize("path", STARTED, ids=lambda path: path.name)
def test_help_tells_every_option(path, tmp_path):
    status, out, err = run(path.name, "--help", folder=tmp_path)
    assert status == 0 and err == "" and "--dry-run" in out and f"launch/{path.name}" in out
    source = path.read_text()
    known = " ".join(re.findall(r'^parse "(.*?)" "(.*?)" \\?\s*"(.*?)"', source, re.M)[0]).split()
    assert set(known) >= ARGUMENTS[path.name].keys()
    assert [name for name in known if f"--{name}" not in out] == []


@pytest.mark.parametrize("path", STARTED, ids=lambda path: path.name)
def test_scripts_ask_for_no_credentials(path):
    words = r"auth|token|password|credential|key-file|print-access|application-default|secret"
    found = re.findall(words, "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert found == []


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_missing_argument_is_named(name, tmp_path):
    for missing in ARGUMENTS[name]:
        given = [
            part for option, value in ARGUMENTS[name].items() if option != missing for part in (f"--{option}", value)
        ]
        assert refused(name, *given, "--", *TRAINING, folder=tmp_path) == f"--{missing} is missing (see --help)."
    if name != "tpu_host.sh":
        for rest, missing in (([], "--config FILE"), (TRAINING[:2], "--workdir DIR")):
            assert missing in refused(name, *options(name), "--", *rest, folder=tmp_path)


def refused(name: str, *arguments: str, folder: Path) -> str:
    """The one sentence on standard error."""
    status, out, err = run(name, *arguments, folder=folder)
    assert status == 2 and out == "" and err.startswith(f"{name}: error: ") and err.count("\n") == 1
    return err.strip().removeprefix(f"{name}: error: ")


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("tpu_vm.sh", ["--colour", "red"], "there is no option --colour"),
        ("tpu_vm.sh", ["--zone"], "--zone needs a value"),
        ("tpu_vm.sh", ["--zone", "--spot"], "--zone needs a value"),
        ("tpu_vm.sh", ["configs/a.py"], "'configs/a.py' is no option"),
        ("tpu_vm.sh", [*options("tpu_vm.sh", name="Lips"), "--", *TRAINING], "--name Lips is no name"),
        ("tpu_vm.sh", [*options("tpu_vm.sh", attempts="0"), "--", *TRAINING], "--attempts 0 is not a number"),
        ("tpu_vm.sh", [*options("tpu_vm.sh", **{"accelerator-type": "v2-8"}), "--", *TRAINING], "no known runtime"),
        ("jobset.sh", [*options("jobset.sh", hosts="two"), "--", *TRAINING], "--hosts two is not a number"),
        ("xpk.sh", [*options("xpk.sh"), "--", *TRAINING[:3], "gs://clips/runs"], "gs://clips/runs is an address"),
        ("slurm.sh", ["--", *TRAINING], "this is a job for Slurm"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(name, arguments, sentence, tmp_path):
    assert sentence in refused(name, *arguments, folder=tmp_path)


def test_tpu_vm_queues_installs_runs_and_fetches_the_logs(tmp_path):
    commands = printed("tpu_vm.sh", "--spot", "--delete", folder=tmp_path)
    gcloud = [c for c in commands if c[0] == "gcloud"]
    assert [c[3:5] for c in gcloud] == [
        ["queued-resources", "create"], ["queued-resources", "describe"], ["tpu-vm", "scp"],
        *[["tpu-vm", "ssh"]] * 3, ["queued-resources", "delete"],
    ]  # fmt: skip
    assert all(f"--project={ODD}" in c and "--zone=us-east5-a" in c for c in gcloud)
    create = gcloud[0]
    for flag in ("--accelerator-type=v5p-8", "--runtime-version=v2-alpha-tpuv5", "--node-id=lips", "--spot"):
        assert flag in create
    ready, train, logs = (
        next(a.removeprefix("--command=") for a in c if a.startswith("--command=")) for c in gcloud[3:6]
    )
    assert "tpu_host.sh --bucket clips" in ready and "lipforcing.log" in logs
    assert all("--worker=all" in c for c in gcloud[2:6])
    # The host's shell takes the command apart once more.
    told = shlex.split(train)
    assert told[told.index("--") + 1 :] == TRAINING


def test_tpu_host_mounts_and_installs(tmp_path):
    commands = printed("tpu_host.sh", folder=tmp_path)
    mount = next(c for c in commands if c[0] == "gcsfuse")
    assert mount[-2:] == [ODD, "/mnt/bucket"] and "--rename-dir-limit=200000" in mount
    assert commands[-1][-1] == f"{LAUNCH.parent}[tpu]"


def test_xpk_attaches_the_bucket_and_creates_the_workload(tmp_path):
    attach, create = printed("xpk.sh", "--bucket", "b", folder=tmp_path)
    assert attach[:4] == ["xpk", "storage", "attach", "clips"] and "--bucket=b" in attach
    assert create[:3] == ["xpk", "workload", "create"] and f"--project={ODD}" in create
    for flag in ("--workload=lips", "--tpu-type=v5p-8", "--storage=clips", "--max-restarts=20"):
        assert flag in create
    command = create[-1].removeprefix("--command=")
    assert shlex.split(command) == ["bash", "launch/on_host.sh", "--", *TRAINING]
    assert len(printed("xpk.sh", folder=tmp_path)) == 1


def test_slurm_starts_one_process_on_each_node(tmp_path):
    [step] = printed("slurm.sh", folder=tmp_path)
    assert step[0] == "srun" and "JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7" in step
    assert step[-len(TRAINING) - 3 :] == ["lipforcing", "train", "--distributed", *TRAINING]


def test_the_manifest_is_a_jobset(tmp_path):
    status, out, _ = run("jobset.sh", *options("jobset.sh", hosts="4"), "--dry-run", "--", *TRAINING, folder=tmp_path)
    assert status == 0 and out.endswith("# kubectl apply -f -\n")
    made, plain = yaml.safe_load(out), yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert made["metadata"]["name"] == "lips" and shape(made) == shape(plain)
    [slice_] = made["spec"]["replicatedJobs"]
    job = slice_["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (4, 4, 0)
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == ODD and container["resources"]["limits"] == {"google.com/tpu": 4}
    assert container["command"] == ["bash", "launch/on_host.sh", "--"]
    # Kubernetes makes one dollar of two before a bracket.
    assert [a.replace("$$(", "$(") for a in container["args"]] == TRAINING
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "2x2x1"
    assert pod["volumes"][0]["csi"]["volumeAttributes"]["bucketName"] == "clips"
    assert made["spec"]["failurePolicy"]["maxRestarts"] == 20


def shape(tree):
    """The keys of a manifest, without values."""
    if isinstance(tree, dict):
        return {key: shape(value) for key, value in tree.items()}
    return [shape(item) for item in tree] if isinstance(tree, list) and tree and isinstance(tree[0], dict) else None


@pytest.mark.parametrize(("arguments", "sentence"), [(["--hosts", "0", "x"], "'0' is not a number"), ([], "required")])
def test_local_pod_refuses(arguments, sentence):
    done = subprocess.run([sys.executable, LAUNCH / "local_pod.py", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and sentence in done.stderr


def test_local_pod_prints_a_command_for_every_host():
    command = [sys.executable, LAUNCH / "local_pod.py", "--hosts", "3", "--dry-run", "--", *TRAINING]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [shlex.split(line)[-len(TRAINING) :] for line in lines] == [TRAINING] * 3
    assert [f"JAX_PROCESS_ID={i}" in line for i, line in enumerate(lines)] == [True] * 3
