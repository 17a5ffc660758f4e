"""Folders that a command writes to: made, and tried before hours are spent on what they could not hold."""

import os
import re
import socket
from pathlib import Path

from lipforcing_jax.errors import UserError

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+")
"""How `gs://bucket/x` begins, also after `Path` has taken one of its slashes."""


def refuse_address(name: str, given: str | Path) -> None:
    """Refuses a bucket's address where a file or folder is meant.

    Raises:
      UserError: `given`, the value of the option or field `name`, is an address.
    """
    if ADDRESS.match(str(given)):
        address = ADDRESS.sub(r"\1://", str(given), count=1)
        raise UserError(
            f"{name} {address} is an address and not a folder; mount the bucket, with gcsfuse for example "
            "(docs/launching.md tells how), and give the folder in which it appears."
        )


def made_folder(folder: Path) -> Path:
    """The folder, made where it is missing, after a byte was written to it and removed again.

    Raises:
      UserError: it is an address, can't be made, or nothing can be written to it.
    """
    refuse_address("The folder", folder)
    # Several hosts try the same folder at once.
    probe = folder / f".probe-{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\n")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"The folder {folder} can't be made or written to: {error.strerror}; mend that or choose another one."
        ) from error
    return folder
