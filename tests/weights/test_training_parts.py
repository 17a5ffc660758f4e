"""Weights for training: base and adapter apart are the student that is made by merging them, and come back whole."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.cli import main
from lipforcing_jax.distill.base import Base
from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import LoRAConfig
from lipforcing_jax.parallel import sharding
from lipforcing_jax.weights import (
    converted,
    dit_names,
    export,
    parts,
    piecewise,
    recipe,
    safetensors_file,
    samples,
    trained_part,
    training_parts,
)
from lipforcing_jax.weights.assemble import assemble
from lipforcing_jax.weights.convert import Inputs, convert
from lipforcing_jax.weights.source import open_source

SIZES = samples.small()
CFG, LORA = SIZES.student, SIZES.lora


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Inputs:
    return samples.write_parts(tmp_path_factory.mktemp("reference"), SIZES, shards=3)


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unmerged") / "weights"
    convert(replace(given, delta=None, unmerged=True), out)
    return out


def count(abstract) -> int:
    return sum(leaf.size for leaf in abstract.values())


def chunks(part: Path) -> dict[str, bytes]:
    """The numbers of a checkpoint, without orbax's notes on when and where it was made."""
    return {str(p.relative_to(part)): p.read_bytes() for p in sorted(part.glob("*/*")) if p.is_file()}


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_manifest_describes_both_parts(given, folder):
    manifest = converted.read_manifest(folder)
    assert manifest.preset == "custom" and list(manifest.parts) == ["base", "adapter"]
    assert training_parts.network_sizes(folder) == (CFG, LORA)
    assert {part.dtype for part in manifest.parts.values()} == {"bfloat16"}
    assert [o.name for o in manifest.parts["adapter"].sources] == [given.adapter.name]
    assert len(manifest.parts["base"].sources) == 3
    base, adapter = trained_part.abstract_frozen(CFG), trained_part.abstract_state(CFG, LORA)
    assert manifest.parts["base"].parameters == count(base) and manifest.parts["adapter"].parameters == count(adapter)
    model = nnx.eval_shape(lambda: DiT(CFG, lora=LORA, rngs=nnx.Rngs(0)))
    assert count(base) + count(adapter) == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))


@pytest.mark.parametrize(
    ("preset", "tensors", "trained", "frozen"),
    [("14b", 844, 619_339_872, 14_288_158_784), ("1.3b", 634, 177_468_000, 1_418_896_960)],
)
def test_the_published_sizes_train_what_the_specification_says(preset, tensors, trained, frozen):
    """Spec training 1.2, network 1.2 and 5.3; frozen is the network without its sound layers and patch embedding."""
    cfg = presets.by_name(preset).dit
    abstract = trained_part.abstract_state(cfg, LoRAConfig())
    assert len(dit_names.manifest_of(abstract, cfg)) == tensors and count(abstract) == trained
    assert count(trained_part.abstract_frozen(cfg)) == frozen
    assert parts.preset_name({"base": cfg, "adapter": LoRAConfig(64)}) == preset


def test_the_command_prints_one_line(capsys, given, tmp_path):
    arguments = ["--base", given.base, "--adapter", given.adapter, "--unmerged", "--out", tmp_path / "w"]
    assert main(["convert", *map(str, arguments)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'w'}: base, adapter (preset custom) in ")
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == ["adapter", "base", "manifest.json"]


# -- the same network --------------------------------------------------------------------------------------------------


@jax.jit
def velocity(model: DiT):
    """Two frames of the bidirectional network at one level."""
    channels = jnp.asarray(recipe.normal("channels", (1, 2, 8, 8, CFG.in_dim)), jnp.float32)
    latents, condition = channels[..., : CFG.latent_channels], channels[..., CFG.latent_channels :]
    text = jnp.asarray(recipe.normal("text", (1, CFG.text_len, CFG.text_dim)), jnp.float32)
    sound = jnp.asarray(recipe.normal("sound", (1, 2, 4 * CFG.audio_dim)), jnp.float32)
    return model(latents, condition, jnp.full((1, 1), 0.769), model.text_keys(text), sound, positions=jnp.arange(2))[0]


def off(found, expected) -> float:
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


def test_base_and_adapter_joined_are_the_merged_student(given, folder, tmp_path):
    """float32 computation. Merged without rounding 4e-7 apart, merged as the reference does, in bfloat16, 1.1e-3."""
    base, adapter = training_parts.load_base(folder), training_parts.load_adapter(folder)
    assert {leaf.dtype for leaf in jax.tree.leaves(base.frozen)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(adapter)} == {jnp.dtype(jnp.float32)}
    joined = velocity(base.join(adapter))

    rounded = open_source(given.base)
    rounded.tensors.update({n: v.astype(ml_dtypes.bfloat16) for n, v in rounded.tensors.items()})
    exact, _ = assemble(rounded, open_source(given.adapter), precision=np.float32)
    state = jax.tree.map(jnp.asarray, dit_names.from_reference(exact.read, CFG))
    structure = nnx.graphdef(nnx.eval_shape(lambda: DiT(CFG, rngs=nnx.Rngs(0))))
    assert off(joined, velocity(nnx.merge(structure, state))) < 1e-6

    convert(replace(given, delta=None), tmp_path / "merged")
    merged = converted.load_part(tmp_path / "merged", "student", lambda: DiT(CFG, rngs=nnx.Rngs(0)), jnp.float32)
    assert off(joined, velocity(merged)) < 2e-3

    without = jax.tree.map(jnp.zeros_like, adapter)
    assert off(joined, velocity(base.join(without))) > 1, "the adapter counts"


def test_networks_compute_in_the_kind_of_numbers_that_is_asked_for(folder):
    base = training_parts.load_base(folder, jnp.bfloat16)
    assert isinstance(base, Base) and base.join(training_parts.load_adapter(folder)).dtype == jnp.bfloat16


def test_a_mesh_restores_both_parts_where_they_belong(folder):
    replicated = jax.sharding.NamedSharding(jax.make_mesh((1,), ("data",)), jax.sharding.PartitionSpec())
    places = partial(sharding.everywhere, mesh=replicated.mesh)
    base, adapter = training_parts.load_base(folder, None, places), training_parts.load_adapter(folder, places)
    assert {leaf.sharding for leaf in jax.tree.leaves((base.frozen, adapter))} == {replicated}


def test_the_decoder_lies_in_the_same_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "w")
    convert(Inputs(taehv=samples.write_taehv(tmp_path / "taew2_1.pth", SIZES.taehv)), tmp_path / "w")
    assert training_parts.load_decoder(tmp_path / "w", jnp.bfloat16).cfg == SIZES.taehv
    with pytest.raises(UserError, match="hold no taehv"):
        training_parts.load_decoder(folder)


# -- and back ----------------------------------------------------------------------------------------------------------


def test_the_adapter_comes_back_bit_for_bit(given, folder, tmp_path):
    assert export.export(folder, tmp_path).parts == ["adapter"]
    found, expected = open_source(tmp_path / "omniavatar_ls.pt").tensors, open_source(given.adapter).tensors
    assert found.keys() == expected.keys()
    assert all(found[n].dtype == v.dtype and found[n].tobytes() == v.tobytes() for n, v in expected.items())


def test_what_was_trained_makes_the_student_that_the_reference_s_files_make(given, folder, tmp_path):
    """Into the folder of the base: trained part to student, equal to base, adapter and delta bit for bit."""
    trained = trained_part.read(given.delta, CFG, LORA)
    trained_part.write(tmp_path / "student.safetensors", trained, CFG)
    out = tmp_path / "w"
    shutil.copytree(folder, out)
    before = chunks(out / "base")
    summary = convert(Inputs(base=out, delta=tmp_path / "student.safetensors"), out)
    assert list(summary.manifest.parts) == ["student", "base", "adapter"]
    sources = [o.name for o in summary.manifest.parts["student"].sources]
    assert sources[-2:] == [given.adapter.name, "student.safetensors"] and len(sources) == 5
    convert(given, tmp_path / "expected")
    expected = chunks(tmp_path / "expected" / "student")
    assert len(expected) > 100 and chunks(out / "student") == expected and chunks(out / "base") == before


def test_without_a_delta_the_stored_adapter_is_merged(given, folder, tmp_path):
    convert(Inputs(base=folder), tmp_path / "w")
    convert(replace(given, delta=None), tmp_path / "expected")
    assert chunks(tmp_path / "w" / "student") == chunks(tmp_path / "expected" / "student")


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [("--base",), ("--base", "--adapter", "--delta"), ("--student",), ("--taehv",)],
    ids=lambda a: " ".join(a),
)
def test_unmerged_takes_base_and_adapter(capsys, tmp_path, given, arguments):
    options = [text for name in arguments for text in (name, str(given.base))]
    assert main(["convert", *options, "--unmerged", "--out", str(tmp_path / "w")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("needs --base and --adapter" in said or "keeps the reference's --base" in said)
    assert not (tmp_path / "w").exists()


def test_an_adapter_of_another_network_is_refused(tmp_path, given):
    narrow = samples.write_adapter(tmp_path / "narrow.pt", replace(CFG, dim=128, num_heads=1), LORA)
    with pytest.raises(UserError, match="keys of another shape"):
        convert(Inputs(base=given.base, adapter=narrow, unmerged=True), tmp_path / "w")
    tensors = dict(open_source(given.adapter).tensors)
    del tensors["blocks.4.ffn.2.lora_B.weight"]
    partial = tmp_path / "partial.safetensors"
    safetensors_file.write(partial, {n: (v.shape, v.dtype) for n, v in tensors.items()}, tensors.__getitem__)
    with pytest.raises(UserError, match=r"1 keys missing: blocks\.4\.ffn\.2\.lora_B\.weight"):
        convert(Inputs(base=given.base, adapter=partial, unmerged=True), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_folder_that_does_not_fit_the_experiment_is_refused(folder, tmp_path):
    preset = presets.by_name("14b")
    assert training_parts.fitted(preset, folder, LORA) == replace(preset, dit=CFG)
    with pytest.raises(UserError, match="has rank 8 and alpha 4, the experiment says rank 128 and alpha 64;"):
        training_parts.fitted(preset, folder, LoRAConfig())
    shutil.copytree(folder, tmp_path / "w")
    text = (tmp_path / "w" / "manifest.json").read_text()
    (tmp_path / "w" / "manifest.json").write_text(text.replace('"custom"', '"1.3b"'))
    with pytest.raises(UserError, match=r"are those of 1\.3b, not of 14b; choose preset=1\.3b"):
        training_parts.fitted(preset, tmp_path / "w", LORA)


def test_a_folder_without_base_is_refused(tmp_path, given):
    convert(Inputs(taehv=samples.write_taehv(tmp_path / "taew2_1.pth", SIZES.taehv)), tmp_path / "w")
    with pytest.raises(UserError, match="holds no base and no adapter; make it by lipforcing convert --unmerged"):
        training_parts.load_base(tmp_path / "w")
    with pytest.raises(UserError, match="holds no base and no adapter"):
        convert(Inputs(base=tmp_path / "w", delta=given.delta), tmp_path / "out")


def test_damage_is_noticed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "w")
    next(p for p in (tmp_path / "w" / "adapter" / "blocks.ffn_in.lora_a").iterdir() if p.name[0].isdigit()).unlink()
    with pytest.raises(UserError, match="damaged"):
        training_parts.load_adapter(tmp_path / "w")


def test_one_block_is_in_memory_at_a_time(folder, monkeypatch, tmp_path):
    """A stored base is read slice by slice where it is merged."""
    sizes, add = [], piecewise.Writes.add

    def counted(self, future, value):
        sizes.append(value.size)
        add(self, future, value)

    monkeypatch.setattr(piecewise.Writes, "add", counted)
    convert(Inputs(base=folder), tmp_path / "w")
    assert max(sizes) == max(4 * CFG.audio_dim * CFG.audio_hidden, CFG.dim * CFG.ffn_dim, 6 * CFG.dim**2)
