"""Prompts, cleaning and the tokeniser's file."""

import sys

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import tokenizer

WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 5, "person": 9, "talking": 7}


@pytest.fixture
def file(tmp_path):
    """A tokeniser that ends, pads and cuts by itself, as some saved files do."""
    made = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.enable_padding(length=8)
    made.enable_truncation(2)
    made.save(str(tmp_path / tokenizer.FILE))
    return tmp_path / tokenizer.FILE


def test_the_end_token_comes_last_and_once(file):
    assert tokenizer.token_ids("a person  talking\n", file, 512).tolist() == [5, 9, 7, 1]
    assert tokenizer.token_ids("", file, 512).tolist() == [1]


def test_a_long_prompt_is_cut_before_the_end_token(file):
    assert tokenizer.token_ids("a person talking", file, 3).tolist() == [5, 9, 1]


def test_cleaning():
    assert tokenizer.clean("  a &amp;lt; b   c ") == "a < b c"


def test_a_prompt_beyond_ascii_needs_ftfy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(UserError, match="ftfy"):
        tokenizer.clean("eine Person, die für uns spricht")


def test_the_publishers_folders_are_looked_through(tmp_path, file):
    inside = tmp_path / "google" / "umt5-xxl"
    assert tokenizer.find(tmp_path / "encoder.pth") == file
    inside.mkdir(parents=True)
    file.rename(inside / file.name)
    assert tokenizer.find(tmp_path / "encoder.pth") == tokenizer.find(tmp_path) == inside / file.name


def test_a_missing_tokeniser_is_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"put tokenizer.json of google/umt5-xxl into .*google/umt5-xxl"):
        tokenizer.find(tmp_path / "encoder.pth")


@pytest.mark.parametrize("text, fault", [("{", "damaged"), (None, "no end token")])
def test_a_wrong_tokeniser_is_refused(tmp_path, text, fault):
    path = tmp_path / tokenizer.FILE
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path))
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=fault):
        tokenizer.token_ids("a", path, 512)
