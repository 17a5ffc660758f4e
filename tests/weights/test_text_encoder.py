"""One prompt encoded from a checkpoint, and embeddings that are stored."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from tokenizers import Tokenizer, models, pre_tokenizers

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import UMT5Encoder
from lipforcing_jax.weights import safetensors_file, torch_writer, umt5_names
from lipforcing_jax.weights.recipe import component_weight
from lipforcing_jax.weights.text_encoder import encode_prompt, read_embedding

CFG = UMT5Config(vocab=12, dim=16, ffn_dim=24, num_heads=2, head_dim=4, num_layers=2)
SHAPES = umt5_names.manifest(CFG)
IDS = [5, 9, 7, 1]
"""Of "a person talking"."""
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def value_of(name: str) -> np.ndarray:
    return component_weight(name, SHAPES[name]).astype(BFLOAT16)


def transformers_name(name: str) -> str:
    """The inverse of `umt5_names.native_name`."""
    if name in ("token_embedding.weight", "norm.weight"):
        return {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}[name]
    _, index, inside = name.removesuffix(".weight").split(".", 2)
    spelt = {native: theirs for theirs, native in umt5_names.TRANSFORMERS.items()}
    if inside not in spelt:
        return f"encoder.block.{index}.{spelt['attn']}{inside.removeprefix('attn')}.weight"
    return f"encoder.block.{index}.{spelt[inside]}.weight"


def write_tokenizer(folder: Path) -> None:
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 5, "person": 9, "talking": 7}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A file of the Wan encoder's layout, with its tokeniser."""
    path = tmp_path / "models_t5.pth"
    torch_writer.write(path, {name: (shape, BFLOAT16) for name, shape in SHAPES.items()}, value_of)
    write_tokenizer(tmp_path)
    return path


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """What the reference does: all 512 positions with a mask, then zeros after the tokens."""
    state = umt5_names.from_reference(lambda name: value_of(name).astype(np.float32), CFG)
    model = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: UMT5Encoder(CFG, rngs=nnx.Rngs(0)))), state)
    ids = jnp.pad(jnp.asarray(IDS), (0, CFG.length - len(IDS)))[None]
    mask = ids > 0
    return np.asarray(model(ids, mask) * mask[..., None])


def test_layer_by_layer_is_the_whole_encoder(checkpoint, whole):
    found = encode_prompt(checkpoint)
    assert found.dtype == np.float32 and found.shape == (1, 512, CFG.dim) and not found[:, len(IDS) :].any()
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_another_prompt_gives_another_embedding(checkpoint, whole):
    found = encode_prompt(checkpoint, "a person")
    assert not found[:, 3:].any() and np.abs(found - whole)[:, :3].max() > 0.01


@pytest.mark.parametrize("twice", [False, True], ids=["encoder", "whole T5"])
def test_transformers_names_are_accepted(tmp_path, whole, twice):
    """A whole T5 model also holds a decoder, and its table of tokens twice."""
    tensors = {transformers_name(name): value_of(name) for name in SHAPES}
    assert {umt5_names.native_name(name) for name in tensors} == SHAPES.keys()
    if twice:
        table = tensors["shared.weight"]
        tensors |= {"encoder.embed_tokens.weight": table, "decoder.embed_tokens.weight": table, "lm_head.weight": table}
    path = tmp_path / "model.safetensors"
    safetensors_file.write(path, {n: (v.shape, v.dtype) for n, v in tensors.items()}, tensors.__getitem__)
    write_tokenizer(tmp_path)
    np.testing.assert_allclose(encode_prompt(tmp_path), whole, atol=1e-5)


def test_without_a_tokeniser(checkpoint):
    checkpoint.with_name("tokenizer.json").unlink()
    with pytest.raises(UserError, match="put tokenizer.json"):
        encode_prompt(checkpoint)


def test_a_tokeniser_of_another_encoder(tmp_path):
    shapes = umt5_names.manifest(replace(CFG, vocab=8))
    path = tmp_path / "encoder.pth"
    get = {name: component_weight(name, shape) for name, shape in shapes.items()}.__getitem__
    torch_writer.write(path, {name: (shape, np.dtype(np.float32)) for name, shape in shapes.items()}, get)
    write_tokenizer(tmp_path)
    with pytest.raises(UserError, match="does not belong"):
        encode_prompt(path)


@pytest.mark.parametrize("missing, words", [
    ("blocks.1.ffn.fc2.weight", "1 keys missing: blocks.1.ffn.fc2.weight"),
    ("blocks.0.pos_embedding.embedding.weight", "not a UMT5 encoder"),
])  # fmt: skip
def test_an_incomplete_encoder_is_refused(tmp_path, missing, words):
    shapes = {name: (shape, BFLOAT16) for name, shape in SHAPES.items() if name != missing}
    torch_writer.write(tmp_path / "encoder.pth", shapes, value_of)
    write_tokenizer(tmp_path)
    with pytest.raises(UserError, match=words):
        encode_prompt(tmp_path / "encoder.pth")


def stored(tmp_path, **tensors) -> Path:
    path = tmp_path / "text_emb.pt"
    torch_writer.write(path, {n: (v.shape, v.dtype) for n, v in tensors.items()}, tensors.__getitem__)
    return path


@pytest.mark.parametrize("key", ["context", "text_emb", "prompt_emb", "anything"])
@pytest.mark.parametrize("batch", [(), (1,)], ids=["2-D", "3-D"])
def test_stored_embeddings(tmp_path, key, batch):
    value = np.random.default_rng(0).normal(size=(*batch, 512, 6)).astype(BFLOAT16)
    other = {} if key == "anything" else {"also": np.zeros((3, 3), np.float32)}
    found = encode_prompt(stored(tmp_path, **other, **{key: value}))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, value.reshape(1, 512, 6).astype(np.float32))


def test_a_bare_tensor(tmp_path):
    torch = pytest.importorskip("torch")
    value = torch.randn(1, 512, 6, generator=torch.Generator().manual_seed(0))
    torch.save(value, tmp_path / "text_emb.pt")
    np.testing.assert_array_equal(read_embedding(tmp_path / "text_emb.pt"), value.numpy())


@pytest.mark.parametrize("shape", [(1, 77, 6), (2, 512, 6), (512,)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(UserError, match="neither a UMT5 encoder nor a text embedding"):
        encode_prompt(stored(tmp_path, context=np.zeros(shape, np.float32)))


def test_an_embedding_with_a_hole_is_refused(tmp_path):
    value = np.zeros((512, 6), np.float32)
    value[3, 3] = np.nan
    with pytest.raises(UserError, match="not numbers"):
        read_embedding(stored(tmp_path, context=value))
