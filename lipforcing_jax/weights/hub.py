"""The release's public files: where each is published, fetched from the model hub, and checked by its hash.

Names, sizes and hashes are those of the publishers' own files. Files that are in the folder already are taken as they
are, so a folder that was filled by hand needs no network.
"""

import hashlib
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from os import SEEK_END
from pathlib import Path

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights.convert import Inputs
from lipforcing_jax.weights.staging import check_space, is_full


@dataclass(frozen=True)
class Published:
    """A file and where it comes from."""

    name: str
    """In the repository."""
    bytes: int
    sha256: str
    origin: str
    """Repository of the model hub, or the address of a file that isn't on the hub."""
    revision: str | None = None
    """Commit of the repository; None for a file that isn't on the hub."""
    folder: str = ""
    """Where it is put, below the folder of all files."""

    @property
    def path(self) -> Path:
        return Path(self.folder) / self.name

    @property
    def size(self) -> str:
        for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if self.bytes >= length / 10:
                return f"{self.bytes / length:.2f} {unit}"
        return f"{self.bytes} bytes"


class UnreachableError(UserError):
    """The model hub can't be reached, or doesn't give a file."""


LIPFORCING = {"origin": "JinhyukJang/lipforcing", "revision": "49f1f15bdc0d266e6e6ef64ccaa1ee86367a8799"}
WAN = {"origin": "Wan-AI/Wan2.1-T2V-14B", "revision": "a064a6c71f5be440641209c07bf2a5ce7a2ff5e4"}
WAV2VEC2 = {
    "origin": "facebook/wav2vec2-base-960h", "revision": "22aad52d435eb6dbaf354bdad9b0da84ce7d6156",
    "folder": "wav2vec2-base-960h",
}  # fmt: skip
ENCODER, TOKENISER, EMBEDDING = "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json", "text_emb.pt"
STUDENTS = {
    "14b": Published(
        "lipforcing_14b.pth", 28_588_528_943,
        "ea9f111f374a208a80b6604e2c698639f03ad666bb7cda72c727a93cd43e4307", **LIPFORCING,
    ),
}  # fmt: skip
SHARED = (
    Published(
        "Wan2.1_VAE.pth", 507_609_880, "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981", **WAN
    ),
    Published(
        "config.json", 1_596, "d3ec255c063d9f95057b553b19c20135b259875834a4fe9deb218a6be25b4cf3", **WAV2VEC2
    ),
    Published(
        "model.safetensors", 377_607_901,
        "8aa76ab2243c81747a1f832954586bc566090c83a0ac167df6f31f0fa917d74a", **WAV2VEC2,
    ),
    Published(TOKENISER, 16_837_417, "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b", **WAN),
    Published(ENCODER, 11_361_920_418, "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d", **WAN),
)  # fmt: skip
ELSEWHERE = (
    Published(
        "taew2_1.pth", 22_678_901, "d26151e76cdc2c9424bef988de874b33d9a53f30ef3060cd556c429c469c797e",
        "https://github.com/madebyollin/taehv/raw/main/taew2_1.pth",
    ),
    Published(
        "syncnet_v2.model", 54_573_114, "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
        "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
    ),
)  # fmt: skip
"""Not on the hub, and not needed to run: the fast decoder, and the judge of how well lips and sound agree."""

CONVERTED = {
    "student": STUDENTS["14b"].name, "vae": "Wan2.1_VAE.pth", "taehv": "taew2_1.pth",
    "wav2vec2": WAV2VEC2["folder"], "text": ENCODER, "syncnet": "syncnet_v2.model",
}  # fmt: skip
"""What `convert` is given for each part."""

UNFINISHED = ".incomplete"

Fetch = Callable[[Published, Path], None]
"""Puts a file at its place in a folder; a second call goes on where an interrupted one has stopped."""
Notice = Callable[[str], None]


def published(preset: str) -> tuple[Published, ...]:
    """All files of a preset.

    Raises:
      UserError: nothing has been published for it, or it comes with the package.
    """
    if preset == "nano":
        raise UserError("The weights of nano come with the package; there is nothing to download.")
    if preset not in STUDENTS:
        raise UserError(
            f"The {preset} student has not been published, and without it its other files (those of 14b) do nothing; "
            "convert a student of your own by lipforcing convert --student FILE."
        )
    return (STUDENTS[preset], *SHARED, *ELSEWHERE)


def wanted(files: Iterable[Published], folder: Path) -> list[Published]:
    """The files without those that a stored text embedding in the folder makes unnecessary."""
    stored = (folder / EMBEDDING).is_file()
    return [file for file in files if not (stored and file.name in (ENCODER, TOKENISER))]


def missing(files: Iterable[Published], folder: Path) -> list[Published]:
    """The wanted files that are not in the folder."""
    return [file for file in wanted(files, folder) if not (folder / file.path).exists()]


def from_hub(file: Published, folder: Path) -> None:
    """Fetches one file of the model hub, or what is missing of it, under another name until it is whole.

    The library's usual call drops what it has when the process ends, which is dear at 28 GB; the one here goes on.

    Raises:
      UnreachableError: there is no connection, or the hub refuses. What has come stays.
      UserError: the disk is full or can't be written to.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars, logging

    logging.set_verbosity_error()  # It would tell of every attempt.
    if not sys.stderr.isatty():
        disable_progress_bars()
    partial = _partial(file, folder)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as content:
            if content.tell() > file.bytes:
                content.truncate(0)
        with partial.open("r+b") as content:
            have = content.seek(0, SEEK_END)
            http_get(
                hf_hub_url(file.origin, file.name, revision=file.revision), content, resume_size=have,
                headers=build_hf_headers(token=False), expected_size=file.bytes, displayed_filename=file.name,
            )  # fmt: skip
        partial.replace(folder / file.path)
    except Exception as error:  # The library lets those of the libraries below it through.
        raise _explained(error, file, folder) from error
    finally:
        if partial.is_file() and not partial.stat().st_size:
            partial.unlink()


def _partial(file: Published, folder: Path) -> Path:
    """What a file is called until it is whole."""
    return (folder / file.path).with_name(Path(file.name).name + UNFINISHED)


def _explained(error: Exception, file: Published, folder: Path) -> UserError:
    """Why a file could not be fetched, in one sentence."""
    if is_full(error):
        return UserError(f"The disk of {folder} is full; free some space and run again.")
    if isinstance(error, FileExistsError | NotADirectoryError | PermissionError):
        return UserError(f"The folder {folder} can't be written to ({error.strerror}); choose another one.")
    reason = (str(error) or type(error).__name__).strip().splitlines()[0].split(". ")[0].rstrip(".")
    return UnreachableError(
        f"The model hub did not give {file.name} of {file.origin} ({reason}); run again when it can be reached, or "
        f"fill {folder} by hand."
    )


def download(
    files: Iterable[Published], folder: Path, fetch: Fetch = from_hub, notice: Notice = lambda line: None
) -> list[Published]:
    """Makes sure that `folder` has all the files, each with the published bytes.

    Files that are there are checked and never changed. A fetched file with another hash is removed.

    Args:
      notice: is called with a line for every file that is fetched or checked.

    Returns:
      the files that are missing still, because they aren't on the hub.

    Raises:
      UnreachableError: the hub doesn't give a file; what has been fetched stays, and the next call goes on from there.
      UserError: a file is not the published one, or the disk has no room.
    """
    absent = missing(files, folder)
    fetched = [file for file in absent if file.revision is not None]
    for file in wanted(files, folder):
        if file not in absent:
            notice(f"checking {file.path} ({file.size})")
            if found := fault(file, folder):
                raise UserError(f"{found}; delete it to have the published one fetched.")
            _partial(file, folder).unlink(missing_ok=True)  # Somebody has got the file in another way.
    check_space(folder, sum(file.bytes for file in fetched))
    for file in fetched:
        notice(f"fetching {file.path} ({file.size}) from {file.origin}")
        fetch(file, folder)
        if found := fault(file, folder):
            (folder / file.path).unlink(missing_ok=True)
            raise UserError(f"{found}; it was removed, run again to fetch it anew.")
    return [file for file in absent if file.revision is None]


def fault(file: Published, folder: Path) -> str | None:
    """How a file differs from what was published, None if it doesn't."""
    path = folder / file.path
    try:
        length = path.stat().st_size
        if length != file.bytes:
            return f"The file {path} has {length} bytes instead of the published {file.bytes}"
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        return f"The file {path} can't be read ({error.strerror})"
    if found != file.sha256:
        return f"The file {path} is not the published one: its SHA-256 is {found}, not {file.sha256}"
    return None


def inputs(folder: Path) -> Inputs:
    """What there is to convert in a folder of published files."""
    names = dict(CONVERTED)
    if (folder / EMBEDDING).is_file():
        names["text"] = EMBEDDING
    return Inputs(**{part: folder / name for part, name in names.items() if (folder / name).exists()})


def command(given: Inputs, out: Path) -> str:
    """The command line that converts."""
    options = {"wav2vec" if part == "wav2vec2" else part: path for part, path in asdict(given).items() if path}
    words = ["lipforcing", "convert", *(word for part, path in options.items() for word in (f"--{part}", str(path)))]
    return shlex.join([*words, "--out", str(out)])


def instructions(files: Iterable[Published], folder: Path, out: Path) -> str:
    """What to put where by hand, and how to go on."""
    absent = missing(files, folder)
    width = max((len(str(file.path)) for file in absent), default=0)
    lines = [f"  {str(file.path):{width}}  {file.size:>9}  {_where(file)}" for file in absent]
    whole = Inputs(**{part: folder / name for part, name in CONVERTED.items()})
    end = f"With these in place run the same command again, or\n  {command(whole, out)}"
    return "\n".join([f"Missing in {folder}:", *lines, end])


def _where(file: Published) -> str:
    """Where somebody finds a file."""
    if file.revision is None:
        return f"{file.origin} (optional)"
    instead = f", or a stored {EMBEDDING} instead" if file.name == ENCODER else ""
    return f"{file.name} of {file.origin} on the model hub{instead}"
