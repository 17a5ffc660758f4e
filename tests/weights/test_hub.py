"""`lipforcing download`: what is fetched, checked, refused, and what a folder filled by hand needs."""

import hashlib
import inspect
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from lipforcing_jax import cli
from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import hub, samples
from lipforcing_jax.weights.hub import Published

CONTENT = {
    "student.pth": b"s" * 1000, "config.json": b"{}", "google/umt5-xxl/tokenizer.json": b"t" * 50,
    "fast.pth": b"f" * 30,
}  # fmt: skip


def entry(name: str, **changes) -> Published:
    content = CONTENT[name]
    facts = {"origin": "somebody/model", "revision": "abc"} | changes
    return Published(name, len(content), hashlib.sha256(content).hexdigest(), **facts)


FILES = (
    entry("student.pth"),
    entry("config.json", folder="ear"),
    entry("google/umt5-xxl/tokenizer.json"),
    entry("fast.pth", origin="https://example.org/fast.pth", revision=None),
)


class FakeHub:
    """Gives files piece by piece as the real one does: part of a file is kept beside it until it is whole."""

    def __init__(self, breaks_after: int | None = None, content: dict[str, bytes] | None = None):
        self.content = CONTENT | (content or {})
        self.left = breaks_after
        self.sent: list[tuple[str, int]] = []

    def __call__(self, file: Published, folder: Path) -> None:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".incomplete")
        have = partial.read_bytes() if partial.exists() else b""
        rest = self.content[file.name][len(have) :]
        part = rest if self.left is None else rest[: self.left]
        self.left = None if self.left is None else self.left - len(part)
        self.sent.append((file.name, len(part)))
        partial.write_bytes(have + part)
        if len(part) < len(rest):
            raise hub.UnreachableError("the line is down")
        partial.rename(target)


def test_everything_on_the_hub_is_fetched_and_the_rest_is_named(tmp_path):
    fake, lines = FakeHub(), []
    absent = hub.download(FILES, tmp_path / "files", fake, lines.append)
    assert absent == [FILES[3]]
    assert [name for name, _ in fake.sent] == [f.name for f in FILES[:3]]
    for file in FILES[:3]:
        assert (tmp_path / "files" / file.path).read_bytes() == CONTENT[file.name]
    assert (tmp_path / "files" / "ear" / "config.json").is_file()
    assert lines[0] == "fetching student.pth (1.00 kB) from somebody/model"


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(hub.UnreachableError):
        hub.download(FILES, tmp_path, FakeHub(breaks_after=400))
    again = FakeHub()
    hub.download(FILES, tmp_path, again)
    assert again.sent[0] == ("student.pth", 600)
    third = FakeHub()
    hub.download(FILES, tmp_path, third)
    assert third.sent == []


def test_a_fetched_file_with_another_hash_is_refused_and_removed(tmp_path):
    wrong = FakeHub(content={"student.pth": b"x" * 1000})
    with pytest.raises(UserError, match="SHA-256.*it was removed") as refused:
        hub.download(FILES, tmp_path, wrong)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "student.pth").exists() and len(wrong.sent) == 1
    hub.download(FILES, tmp_path, FakeHub())


def test_a_fetched_file_of_another_length_is_refused_and_removed(tmp_path):
    with pytest.raises(UserError, match="999 bytes instead of the published 1000.*it was removed"):
        hub.download(FILES, tmp_path, FakeHub(content={"student.pth": b"s" * 999}))
    assert not (tmp_path / "student.pth").exists()


@pytest.mark.parametrize("content", [b"x" * 1000, b"s" * 10])
def test_a_file_that_was_there_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "student.pth").write_bytes(content)
    fake = FakeHub()
    with pytest.raises(UserError, match="delete it"):
        hub.download(FILES, tmp_path, fake)
    assert (tmp_path / "student.pth").read_bytes() == content and fake.sent == []


def no_network(file, folder):
    raise AssertionError(f"{file.name} was asked for")


def test_a_folder_that_was_filled_by_hand_needs_no_network(tmp_path):
    for file in FILES:
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT[file.name])
    lines = []
    assert hub.download(FILES, tmp_path, no_network, lines.append) == []
    assert [line.split()[0] for line in lines] == ["checking"] * len(FILES)


def test_a_stored_embedding_makes_the_encoder_unnecessary(tmp_path):
    assert hub.TOKENISER in [f.name for f in hub.missing(FILES, tmp_path)]
    (tmp_path / hub.EMBEDDING).write_bytes(b"")
    assert hub.TOKENISER not in [f.name for f in hub.missing(FILES, tmp_path)]
    names = {f.name for f in hub.missing(hub.published("14b"), tmp_path)}
    assert hub.ENCODER not in names and "lipforcing_14b.pth" in names


def test_a_disk_without_room_is_seen_before_anything_is_fetched(tmp_path):
    huge = replace(FILES[0], bytes=10**18)
    with pytest.raises(UserError, match="free"):
        hub.download([huge], tmp_path / "files", no_network)
    assert not (tmp_path / "files").exists()


# -- the library -------------------------------------------------------------------------------------------------------


class Library:
    """A stand-in for the hub's library: remembers what it was asked for and sends at most `most` bytes."""

    def __init__(self):
        self.calls: list[dict] = []
        self.error: BaseException | None = None
        self.most = 10**9

    def http_get(self, url, content, *, resume_size, headers, expected_size, displayed_filename):
        self.calls.append({"url": url, "from": resume_size, "size": expected_size, "headers": headers})
        name = url.split("@abc/")[-1]
        content.write(CONTENT.get(name, b"")[resume_size : resume_size + self.most])
        if self.error:
            raise self.error


@pytest.fixture
def library(monkeypatch):
    fake = Library()
    package, utils, inside = (
        types.ModuleType(f"huggingface_hub{name}") for name in ("", ".utils", ".file_download")
    )  # fmt: skip
    package.hf_hub_url = lambda repo, name, *, revision: f"hub:{repo}@{revision}/{name}"
    utils.disable_progress_bars = lambda: None
    utils.build_hf_headers = lambda *, token: {"token": token}
    utils.logging = types.SimpleNamespace(set_verbosity_error=lambda: None)
    inside.http_get = fake.http_get
    for module in (package, utils, inside):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


def test_the_library_has_what_is_used():
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars, logging

    assert "somebody/model" in hf_hub_url("somebody/model", "a/b.pth", revision="abc")
    taken = inspect.signature(http_get).parameters
    assert {"resume_size", "headers", "expected_size", "displayed_filename"} <= taken.keys()
    assert "authorization" not in {name.lower() for name in build_hf_headers(token=False)}
    assert callable(disable_progress_bars) and callable(logging.set_verbosity_error)


def test_one_commit_of_a_file_is_asked_for_and_put_into_its_folder(library, tmp_path):
    hub.from_hub(FILES[1], tmp_path)
    assert library.calls == [{"url": "hub:somebody/model@abc/config.json", "from": 0, "size": 2,
                              "headers": {"token": False}}]  # fmt: skip
    assert (tmp_path / "ear" / "config.json").read_bytes() == b"{}"
    assert [p.name for p in (tmp_path / "ear").iterdir()] == ["config.json"]


def test_what_has_come_is_not_asked_for_again(library, tmp_path):
    library.most, library.error = 400, ConnectionError("the line is down")
    for _ in range(2):
        with pytest.raises(hub.UnreachableError):
            hub.from_hub(FILES[0], tmp_path)
        assert not (tmp_path / "student.pth").exists()
    library.most, library.error = 10**9, None
    hub.from_hub(FILES[0], tmp_path)
    assert [call["from"] for call in library.calls] == [0, 400, 800]
    assert (tmp_path / "student.pth").read_bytes() == CONTENT["student.pth"]
    assert [p.name for p in tmp_path.iterdir()] == ["student.pth"]


def test_a_stopped_download_goes_on_too(library, tmp_path):
    library.most, library.error = 300, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        hub.from_hub(FILES[0], tmp_path)
    library.most, library.error = 10**9, None
    hub.from_hub(FILES[0], tmp_path)
    assert library.calls[1]["from"] == 300


def test_nothing_is_left_where_nothing_has_come(library, tmp_path):
    library.most, library.error = 0, ConnectionError("offline")
    with pytest.raises(hub.UnreachableError):
        hub.from_hub(FILES[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_dropped_when_the_file_has_come_in_another_way(tmp_path):
    for name, content in (("student.pth", CONTENT["student.pth"]), ("student.pth.incomplete", b"s")):
        (tmp_path / name).write_bytes(content)
    hub.download(FILES[:1], tmp_path, no_network)
    assert [p.name for p in tmp_path.iterdir()] == ["student.pth"]


def test_a_part_that_is_longer_than_the_file_is_dropped(library, tmp_path):
    (tmp_path / "student.pth.incomplete").write_bytes(b"x" * 1001)
    hub.from_hub(FILES[0], tmp_path)
    assert (tmp_path / "student.pth").read_bytes() == CONTENT["student.pth"]


@pytest.mark.parametrize(("error", "kind", "named"), [
    (ConnectionError("no route. Try it.\nmore"), hub.UnreachableError, r"student\.pth of somebody/model \(no route\)"),
    (RuntimeError(), hub.UnreachableError, r"\(RuntimeError\)"),
    (OSError(28, "No space left on device"), UserError, "disk of .* is full"),
    (PermissionError(13, "Permission denied"), UserError, "can't be written to"),
])  # fmt: skip
def test_whatever_the_library_raises_becomes_one_sentence(library, tmp_path, error, kind, named):
    library.error = error
    with pytest.raises(kind, match=named) as refused:
        hub.from_hub(FILES[0], tmp_path)
    assert "\n" not in str(refused.value)


# -- the command -------------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    status = cli.main(["download", *map(str, arguments)])
    found = capsys.readouterr()
    return status, found.out, [line for line in found.err.splitlines() if line.strip()]


def test_the_command_says_what_to_put_where_when_it_cannot_fetch(library, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(hub, "check_space", lambda folder, needed: None)  # The disk of a test needn't hold 41 GB.
    library.error = ConnectionError("the line is down")
    status, told, errors = run(capsys, "--preset", "14b", "--out", tmp_path / "w", "--cache", tmp_path / "files")
    assert status == 2 and len(errors) == 1 and "(the line is down)" in errors[0]
    for file in hub.published("14b"):
        line = next(line for line in told.splitlines() if line.startswith(f"  {file.path} "))
        assert file.size in line and file.origin in line
    assert f"lipforcing convert --student {tmp_path / 'files' / 'lipforcing_14b.pth'}" in told
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(("preset", "named"), [
    ("1.3b", "has not been published"), ("nano", "come with the package"), ("7b", "Unknown preset"),
])  # fmt: skip
def test_presets_without_published_files_are_refused(library, capsys, tmp_path, preset, named):
    status, told, errors = run(capsys, "--preset", preset, "--out", tmp_path / "w")
    assert status == 2 and len(errors) == 1 and named in errors[0] and not told
    assert library.calls == [] and list(tmp_path.iterdir()) == []


def catalogue(folder: Path) -> dict[str, Published]:
    """Entries of the sample files that a folder holds, by their published names."""
    found = {}
    for file in hub.published("14b"):
        path = folder / file.path
        if path.exists():
            content = path.read_bytes()
            found[file.name] = replace(file, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return found


def test_a_release_filled_in_by_hand_is_checked_and_converted(monkeypatch, library, capsys, tmp_path):
    files = tmp_path / "files"
    samples.write_release(files, samples.small())
    known = catalogue(files)
    assert len(known) == len(hub.published("14b")) - 2  # The encoder and its tokeniser: the embedding is stored.
    entries = tuple(known.get(file.name, file) for file in hub.published("14b"))
    monkeypatch.setattr(hub, "published", lambda preset: entries)
    status, told, errors = run(capsys, "--preset", "14b", "--out", tmp_path / "w", "--cache", files)
    assert status == 0 and not [line for line in errors if "error" in line]
    assert told.count("checking") == len(known) and "fetching" not in told
    assert "student, vae, taehv, wav2vec2, syncnet, text" in told.splitlines()[-1]
    assert (tmp_path / "w" / "manifest.json").is_file() and library.calls == []


def test_without_converting_the_command_is_told(monkeypatch, library, capsys, tmp_path):
    files = tmp_path / "out-files"
    files.mkdir()
    path = samples.write_taehv(files / "taew2_1.pth", samples.small().taehv)
    entries = tuple(catalogue(files).values())
    monkeypatch.setattr(hub, "published", lambda preset: entries)
    status, told, errors = run(capsys, "--preset", "14b", "--out", tmp_path / "out", "--no-convert")
    assert (status, errors) == (0, [])
    assert told.splitlines()[-1] == f"to convert: lipforcing convert --taehv {path} --out {tmp_path / 'out'}"
    assert not (tmp_path / "out").exists()


def test_the_inputs_are_what_the_folder_holds(tmp_path):
    given = samples.write_release(tmp_path / "files", samples.small(), encoder=True)
    assert hub.inputs(tmp_path / "files") == given
    assert hub.command(given, Path("out")).startswith("lipforcing convert --student")
