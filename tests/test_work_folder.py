"""Work folders: a bucket's address, or a folder that takes no bytes, is refused before anything is loaded."""

import errno
import os
from pathlib import Path

import pytest

from lipforcing_jax import cli
from lipforcing_jax.errors import UserError
from lipforcing_jax.work_folder import made_folder, refuse_address

CONFIGS = Path(__file__).parents[1] / "configs"


def test_a_folder_is_made_and_left_empty(tmp_path):
    folder = made_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and list(folder.iterdir()) == []


@pytest.mark.parametrize("given", ["gs://bucket/runs", "s3://bucket", Path("gs://bucket/runs")])
def test_an_address_is_refused(given):
    address = "gs://bucket/runs" if isinstance(given, Path) else given
    with pytest.raises(UserError, match=f"dataset {address} is an address.*mount the bucket"):
        refuse_address("dataset", given)


@pytest.mark.parametrize("given", ["", "runs/14b", "/mnt/bucket", "C:/runs", "it is 12:30/x"])
def test_folders_are_no_addresses(given):
    refuse_address("dataset", given)


def test_a_mount_that_is_gone_is_told(tmp_path, monkeypatch):
    def gone(*_):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(Path, "write_bytes", gone)
    with pytest.raises(UserError, match="can't be made or written to: Transport endpoint is not connected"):
        made_folder(tmp_path)


@pytest.mark.parametrize(
    ("workdir", "fields", "sentence"),
    [
        ("gs://bucket/runs", [], "The folder gs://bucket/runs is an address"),
        ("file/runs", [], "file/runs can't be made or written to: Not a directory"),
        ("runs", ["dataset=gs://bucket/clips"], "dataset gs://bucket/clips is an address"),
        ("runs", ["weights=s3://w", "dataset=clips"], "weights s3://w is an address"),
    ],
)
def test_train_refuses(capsys, tmp_path, monkeypatch, workdir, fields, sentence):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    status = cli.main(["train", "--config", str(CONFIGS / "stage2_sf_14b.py"), "--workdir", workdir, *fields])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 1 and sentence in lines[0]
    assert not Path("gs:").exists()
