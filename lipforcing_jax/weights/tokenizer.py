"""From a prompt to token ids, by the tokeniser file that is published beside the text encoder (spec inference 4)."""

import html
import string
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer

from lipforcing_jax.errors import UserError

FILE, END = "tokenizer.json", "</s>"


def find(checkpoint: Path) -> Path:
    """The tokeniser's file for an encoder's checkpoint, a file or a folder.

    Raises:
      UserError: it is in none of the places where the publishers put it.
    """
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    folders = [beside / "google" / "umt5-xxl", beside, beside / "umt5-xxl", beside.parent / "tokenizer"]
    for folder in folders:
        if (folder / FILE).is_file():
            return folder / FILE
    raise UserError(
        f"The text encoder needs its tokeniser; put {FILE} of google/umt5-xxl into {folders[0]} or {folders[1]}."
    )


def clean(prompt: str) -> str:
    """The prompt as the encoder was trained to see it: HTML entities resolved twice, white space collapsed.

    Raises:
      UserError: a prompt beyond ASCII needs ftfy, which is not installed.
    """
    text = prompt if set(prompt) <= set(string.printable) else _mended(prompt)
    return " ".join(html.unescape(html.unescape(text)).split())


def _mended(prompt: str) -> str:
    """What ftfy makes of a text: the reference's way with curly quotes, wide characters, controls. Not for ASCII."""
    try:
        from ftfy import fix_text
    except ModuleNotFoundError as error:
        raise UserError("A prompt with other characters than ASCII needs ftfy; install it, or use ASCII.") from error
    return fix_text(prompt)


def token_ids(prompt: str, file: Path, length: int) -> Int[np.ndarray, " n"]:
    """Ids of the cleaned prompt, the end token last; at most `length`, what is beyond is cut off.

    Raises:
      UserError: the tokeniser's file is damaged or not of this kind.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # The library raises nothing more specific.
        raise UserError(f"The tokeniser {file} is damaged ({error}); download it again.") from error
    end = tokenizer.token_to_id(END)
    if end is None:
        raise UserError(f"The tokeniser {file} has no end token {END}; give that of google/umt5-xxl.")
    # The file's own padding and cutting are settings of whoever saved it.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return np.array([*tokenizer.encode(clean(prompt), add_special_tokens=False).ids[: length - 1], end])
