"""The trained part alone in a file: the reference's names and container, bit for bit."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.weights import dit_names, lora_names, safetensors_file, samples, trained_part
from lipforcing_jax.weights.source import open_source

CFG = DiTConfig(256, 2, 384, 6, text_dim=64, audio_dim=256)
LORA = LoRAConfig(rank=8, alpha=4.0)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return samples.write_adapter(tmp_path_factory.mktemp("adapter") / "adapter.pt", CFG, LORA)


@pytest.fixture(scope="module")
def delta(tmp_path_factory):
    return samples.write_delta(tmp_path_factory.mktemp("delta") / "0000600.pth", CFG, LORA)


def test_every_number_has_its_place(delta):
    trained = dict(nnx.to_flat_state(trained_part.read(delta, CFG, LORA)))
    found = open_source(delta)
    assert {leaf.dtype for leaf in trained.values()} == {np.dtype(np.float32)}
    for path, name in {
        ("blocks", "cross_attn", "o", "lora_a"): "blocks.4.cross_attn.o.lora_A.default.weight",
        ("blocks", "ffn_out", "lora_b"): "blocks.4.ffn.2.lora_B.default.weight",
        ("audio_cond_projs", "kernel"): "audio_cond_projs.1.weight",
    }.items():
        index = int(name.split(".")[1])
        np.testing.assert_array_equal(trained[path][...][index], found.read(name).T)
    sound = trained["audio_proj", "norm_out", "scale"][...]
    np.testing.assert_array_equal(sound, found.read("audio_proj.norm_out.weight"))
    patches = found.read("patch_embedding.weight")
    assert trained["patch_embedding", "kernel"].shape == (4 * 65, 256)
    np.testing.assert_array_equal(trained["patch_embedding", "kernel"][...][65], patches[:, 0, 0, 0, 1])


def test_the_adapter_reads_alike(adapter):
    trained = trained_part.read(adapter, CFG, LORA)
    pairs = lora_names.from_reference(open_source(adapter).read, CFG, LORA)
    found = dict(nnx.to_flat_state(trained))
    for path, leaf in nnx.to_flat_state(pairs):
        np.testing.assert_array_equal(found[path][...], leaf[...])
    assert len(found) == len(nnx.to_flat_state(pairs)) + 8


@pytest.mark.parametrize("name", ["student.safetensors", "student.pth"])
def test_written_and_read_it_is_the_same_bit_for_bit(delta, tmp_path, name):
    trained = trained_part.read(delta, CFG, LORA)
    path = trained_part.write(tmp_path / "runs" / name, trained, CFG)
    again = trained_part.read(path, CFG, LORA)
    jax.tree.map(np.testing.assert_array_equal, trained, again)
    found, given = open_source(path).tensors, open_source(delta).tensors
    assert found.keys() == given.keys()
    assert all(found[n].dtype == v.dtype and found[n].tobytes() == v.tobytes() for n, v in given.items())
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_the_reference_s_trainer_reads_it(delta, tmp_path):
    """Spec network 5.3: `["model"]["net"]`, `_core.` before every name, pairs as PEFT names them."""
    torch = pytest.importorskip("torch")
    path = trained_part.write(tmp_path / "0000600.pth", trained_part.read(delta, CFG, LORA), CFG)
    found, given = (torch.load(p, weights_only=True)["model"]["net"] for p in (path, delta))
    assert found.keys() == given.keys() and "_core.blocks.0.self_attn.q.lora_A.default.weight" in found
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_an_older_patch_embedding_gets_zeros(adapter, tmp_path):
    tensors = dict(open_source(adapter).tensors)
    tensors["patch_embedding.weight"] = tensors["patch_embedding.weight"][:, :49]
    trained = dict(nnx.to_flat_state(trained_part.read(rewritten(tmp_path, tensors), CFG, LORA)))
    kernel = trained["patch_embedding", "kernel"][...].reshape(4, 65, 256)
    assert kernel[:, :49].any(axis=2).all() and not kernel[:, 49:].any()


def rewritten(folder, tensors):
    path = folder / "odd.safetensors"
    safetensors_file.write(path, {n: (v.shape, v.dtype) for n, v in tensors.items()}, tensors.__getitem__)
    return path


PAIR = "blocks.1.self_attn.q.lora_{}.default.weight"


@pytest.mark.parametrize(
    ("cfg", "lora", "change", "sentence"),
    [
        (CFG, LoRAConfig(4, 2.0), {}, "at rank 4: 120 keys of another shape"),
        (replace(CFG, ffn_dim=128), LORA, {}, "12 keys of another shape"),
        (replace(CFG, num_layers=8), LORA, {}, "42 keys missing"),
        (CFG, LORA, {PAIR.format("B"): None}, "1 keys missing: blocks.1.self_attn.q.lora_B.weight"),
        (CFG, LORA, {"head.head.bias": np.zeros(64)}, "1 keys unexpected: head.head.bias"),
        (CFG, LORA, {"patch_embedding.weight": np.zeros((256, 260))}, "patch_embedding.weight (256, 260) instead"),
    ],
)
def test_anything_else_is_refused_by_name(delta, tmp_path, cfg, lora, change, sentence):
    tensors = {n: v for n, v in (open_source(delta).tensors | change).items() if v is not None}
    with pytest.raises(UserError) as refused:
        trained_part.read(rewritten(tmp_path, tensors), cfg, lora)
    assert sentence in str(refused.value) and "odd.safetensors" in str(refused.value)


def test_a_merged_student_is_no_trained_part(tmp_path):
    path = samples.write_student(tmp_path / "student.pth", CFG)
    with pytest.raises(UserError, match="is not the trained part of this network at rank 8"):
        trained_part.read(path, CFG, LORA)


def test_the_names_are_those_of_the_parts(delta):
    """Every tensor of a network with pairs is frozen or trained, and none is both."""
    trained = dit_names.manifest_of(trained_part.abstract_state(CFG, LORA), CFG)
    frozen = dit_names.manifest_of(trained_part.abstract_frozen(CFG), CFG)
    assert not trained.keys() & frozen.keys()
    assert trained.keys() | frozen.keys() == dit_names.manifest(CFG).keys() | lora_names.manifest(CFG, LORA).keys()
