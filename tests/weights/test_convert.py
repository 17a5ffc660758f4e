"""`lipforcing convert`: what it makes of a release, and what it refuses without touching the destination."""

import errno
import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import PRESETS, SyncNetConfig, TinyVAEConfig, WanVAEConfig, Wav2Vec2Config
from lipforcing_jax.weights import (
    convert as conversion,
)
from lipforcing_jax.weights import (
    converted,
    dit_diffusers,
    export,
    parts,
    piecewise,
    safetensors_file,
    samples,
    staging,
    text_encoder,
)
from lipforcing_jax.weights.convert import Inputs, convert
from lipforcing_jax.weights.source import open_source

SIZES = samples.small()
OPTIONS = {"wav2vec2": "wav2vec"}
HIGH = ("blocks.3", "blocks.4", "blocks.5")
"""Without these blocks none would hear the sound."""


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Inputs:
    return samples.write_release(tmp_path_factory.mktemp("release"), SIZES)


@pytest.fixture(scope="module")
def weights(release, tmp_path_factory) -> Path:
    """Everything converted."""
    out = tmp_path_factory.mktemp("converted") / "weights"
    convert(release, out)
    return out


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main(["convert", *(str(a) for a in arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def numbers(folder: Path) -> dict[str, bytes]:
    """The chunks of a checkpoint, without orbax's notes on when and where it was made."""
    return {name: value for name, value in content(folder).items() if "/" in name}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rewrite(source: Path, target: Path, change) -> Path:
    """A checkpoint with other tensors, as safetensors."""
    tensors = change(dict(open_source(source).tensors))
    shapes = {name: (value.shape, value.dtype) for name, value in tensors.items()}
    safetensors_file.write(target, shapes, tensors.__getitem__)
    return target


# -- what it makes -----------------------------------------------------------------------------------------------------


def test_sizes_come_from_the_shapes_and_the_manifest_tells_everything(release, weights):
    manifest = converted.read_manifest(weights)
    assert manifest.preset == "custom"
    found = {name: converted.config_of(manifest, name) for name in manifest.parts}
    assert found == {
        "student": SIZES.student, "vae": SIZES.vae, "taehv": SIZES.taehv, "wav2vec2": SIZES.wav2vec2,
        "syncnet": SIZES.syncnet, "text": parts.TextConfig(None, 512, SIZES.text.dim),
    }  # fmt: skip
    kinds = {name: part.dtype for name, part in manifest.parts.items()}
    assert kinds == {
        "student": "bfloat16", "vae": "float32", "taehv": "float16", "wav2vec2": "float32", "syncnet": "float32",
        "text": "bfloat16",
    }  # fmt: skip
    for name, network in parts.NETWORKS.items():
        shapes = network.names.manifest(found[name])
        assert manifest.parts[name].tensors == len(shapes)
        assert manifest.parts[name].parameters == sum(int(np.prod(shape)) for shape in shapes.values())
        path = open_source(getattr(release, name)).files[0]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert [asdict(o) for o in manifest.parts[name].sources] == [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
        ]
    assert sorted(p.name for p in weights.iterdir()) == [
        "manifest.json", "student", "syncnet", "taehv", "text.safetensors", "vae", "wav2vec2",
    ]  # fmt: skip


def test_every_number_is_the_source_s(release, weights):
    manifest = converted.read_manifest(weights)
    for name, network in parts.NETWORKS.items():
        source = open_source(getattr(release, name))
        source = source.renamed(network.names.bare_name) if name == "wav2vec2" else source
        shapes, get = export.tensors(weights, manifest, name)
        for key in shapes:
            assert source.dtype(key) == shapes[key][1]
            np.testing.assert_array_equal(get(key), source.read(key), err_msg=f"{name}: {key}")


def test_the_command_prints_one_line(capsys, tmp_path, release):
    status, out, err = run(capsys, "--taehv", release.taehv, "--out", tmp_path / "new" / "w")
    assert status == 0 and err == "" and out.count("\n") == 1
    assert out.startswith(f"{tmp_path / 'new' / 'w'}: taehv (preset custom) in ") and "GB/s), peak memory" in out
    assert sorted(p.name for p in (tmp_path / "new" / "w").iterdir()) == ["manifest.json", "taehv"]


def test_parts_that_are_not_given_stay_and_given_ones_are_replaced(capsys, tmp_path, release):
    out = tmp_path / "w"
    convert(Inputs(taehv=release.taehv, text=release.text), out)
    before = content(out)
    other = rewrite(release.taehv, tmp_path / "other.safetensors", lambda t: {n: v + v for n, v in t.items()})
    summary = convert(Inputs(taehv=other, syncnet=release.syncnet), out)
    assert summary.parts == ["taehv", "syncnet"] and list(summary.manifest.parts) == ["taehv", "syncnet", "text"]
    manifest = converted.read_manifest(out)
    assert manifest.parts["taehv"].sources[0].name == "other.safetensors"
    assert content(out)["text.safetensors"] == before["text.safetensors"]
    shapes, get = export.tensors(out, manifest, "taehv")
    source = open_source(release.taehv)
    assert all(np.array_equal(get(name), 2 * source.read(name)) for name in shapes)


def test_the_preset_is_told_by_all_sizes():
    for name in ("1.3b", "14b"):
        preset = PRESETS[name]
        sizes = {"student": preset.dit, "vae": WanVAEConfig(), "taehv": TinyVAEConfig(), "wav2vec2": Wav2Vec2Config()}
        sizes |= {"syncnet": SyncNetConfig(), "text": parts.TextConfig("anything", 512, 4096)}
        assert parts.preset_name(sizes) == name and parts.preset_name({"student": preset.dit}) == name
        for part, other in {"student": replace(preset.dit, ffn_dim=1), "vae": WanVAEConfig(dim=32)}.items():
            assert parts.preset_name(sizes | {part: other}) == "custom"
        assert parts.preset_name({"vae": WanVAEConfig()}) == "custom"


def test_published_sizes_are_recognised_from_shapes_alone():
    """The whole 14B key list, without the 28.6 GB of numbers."""
    for name, tensors, parameters in (("1.3b", 857, 1_421_383_840), ("14b", 1137, 14_294_081_696)):
        config = PRESETS[name].dit
        shapes = parts.NETWORKS["student"].names.manifest(config)
        zero = np.zeros((), ml_dtypes.bfloat16)
        source = conversion.Source({n: np.broadcast_to(zero, s) for n, s in shapes.items()}, [Path("student.pth")])
        part = conversion._network("student", source, conversion.sizes.dit(source))
        assert part.config == config and part.tensors == tensors
        assert part.record([]).parameters == parameters and part.nbytes == 2 * parameters


def diffusers_name(name: str) -> str:
    """The inverse of `native_name`."""
    prefix = name[: name.find(".", 7) + 1] if name.startswith("blocks.") else ""
    inside = name.removeprefix(prefix)
    if inside.endswith("modulation"):
        return f"{prefix}scale_shift_table"
    found = [
        prefix + theirs + inside.removeprefix(native)
        for theirs, native in dit_diffusers.MODULES.items()
        if inside.startswith(native + ".")
    ]
    return next((n for n in found if dit_diffusers.native_name(n) == name), name)


def test_other_spellings_of_the_student_give_the_same(tmp_path, release, weights):
    rope = {"rope.freqs_cos": np.zeros((4, 4), np.float32)}
    spellings = {
        "core": lambda t: {f"_core.{n}": v for n, v in t.items()},
        "model": lambda t: {f"model.module.{n}": v for n, v in t.items()},
        "diffusers": lambda t: {diffusers_name(n): v for n, v in t.items()} | rope,
    }
    for name, spell in spellings.items():
        path = rewrite(release.student, tmp_path / f"{name}.safetensors", spell)
        convert(Inputs(student=path), tmp_path / name)
        assert numbers(tmp_path / name / "student") == numbers(weights / "student"), name


def test_a_student_in_parts_is_assembled(tmp_path):
    given = samples.write_parts(tmp_path / "parts", SIZES, shards=3)
    convert(given, tmp_path / "w")
    manifest = converted.read_manifest(tmp_path / "w")
    part = manifest.parts["student"]
    assert converted.config_of(manifest, "student") == SIZES.student and part.dtype == "bfloat16"
    assert [o.name for o in part.sources][-2:] == [given.adapter.name, given.delta.name] and len(part.sources) == 5
    whole, _ = conversion.assemble(*(open_source(p) for p in (given.base, given.adapter, given.delta)))
    shapes, get = export.tensors(tmp_path / "w", manifest, "student")
    for name in shapes:
        np.testing.assert_array_equal(get(name), whole.read(name), err_msg=name)


def test_a_width_of_an_unpublished_head_needs_the_number_of_heads(tmp_path):
    odd = replace(SIZES.student, dim=192, num_heads=3)
    path = samples.write_student(tmp_path / "odd.pth", odd)
    with pytest.raises(UserError, match="192 wide, no multiple of 128; say how many heads it has by --heads"):
        convert(Inputs(student=path), tmp_path / "w")
    with pytest.raises(UserError, match="which 5 heads can't share"):
        convert(Inputs(student=path, heads=5), tmp_path / "w")
    manifest = convert(Inputs(student=path, heads=3), tmp_path / "w").manifest
    assert converted.config_of(manifest, "student") == odd


def test_wav2vec2_s_config_tells_what_shapes_do_not(tmp_path, release):
    folder = tmp_path / "ear"
    shutil.copytree(release.wav2vec2, folder)
    facts = json.loads((folder / "config.json").read_text())

    def heads(**changes) -> int:
        (folder / "config.json").write_text(json.dumps(facts | changes))
        return converted.config_of(convert(Inputs(wav2vec2=folder), tmp_path / "w").manifest, "wav2vec2").num_heads

    assert heads(num_attention_heads=2) == 2
    assert heads(num_attention_heads=4, model_type="bert") == 1, "the config of something else"
    with pytest.raises(UserError, match="norms in other places"):
        heads(do_stable_layer_norm=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        convert(Inputs(wav2vec2=folder), tmp_path / "w")
    (folder / "config.json").unlink()
    manifest = convert(Inputs(wav2vec2=folder / "model.safetensors"), tmp_path / "w").manifest
    assert converted.config_of(manifest, "wav2vec2") == SIZES.wav2vec2


def test_of_a_taller_time_grow_layer_the_last_rows_are_used(tmp_path, release):
    name = "decoder.7.conv.weight"
    tall = lambda t: t | {name: np.concatenate([t[name] + 1, t[name]])}  # noqa: E731
    path = rewrite(release.taehv, tmp_path / "tall.safetensors", tall)
    manifest = convert(Inputs(taehv=path), tmp_path / "w").manifest
    assert converted.config_of(manifest, "taehv") == SIZES.taehv
    _, get = export.tensors(tmp_path / "w", manifest, "taehv")
    np.testing.assert_array_equal(get(name), open_source(release.taehv).read(name))


def test_the_prompt_is_encoded_and_told(tmp_path):
    given = samples.write_release(tmp_path / "release", SIZES, encoder=True)
    said = {}
    for prompt in (None, "talking person"):
        out = tmp_path / f"w {prompt}"
        manifest = convert(Inputs(text=given.text, prompt=prompt), out).manifest
        said[prompt] = converted.config_of(manifest, "text").prompt
        expected = text_encoder.encode_prompt(given.text, said[prompt]).astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(converted.load_text(out), expected)
    assert said == {None: "a person talking", "talking person": "talking person"}


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Nothing to convert"),
        (["--prompt", "a"], "Nothing to convert"),
        (["--student", "a", "--base", "b", "--adapter", "c"], "not both"),
        (["--base", "b"], "needs --base and --adapter"),
        (["--delta", "b"], "needs --base and --adapter"),
        (["--taehv", "a", "--prompt", "b"], "A prompt needs the text encoder"),
        (["--taehv", "a", "--heads", "3"], "number of heads is the student's"),
        (["--student", "a", "--heads", "0"], "can't have 0 heads"),
        (["--student", "a", "--heads", "many"], "invalid int value"),
        (["--taehv", "nowhere.pth"], "no checkpoint at nowhere.pth"),
        (["--export"], "Writing back takes --export, --from DIR"),
        (["--from", "a"], "Writing back takes --export, --from DIR"),
        (["--export", "--from", "a", "--taehv", "b"], "and nothing else"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_one_sentence(capsys, tmp_path, arguments, sentence):
    status, out, err = run(capsys, *arguments, "--out", tmp_path / "w")
    assert status == 2 and out == "" and err.count("\n") == 1 and sentence in err and err.endswith(".\n")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("student", lambda t: drop(t, "blocks.3.ffn.2.bias"), "1 keys missing: blocks.3.ffn.2.bias"),
        ("student", lambda t: t | {"img_emb.proj.weight": t["head.head.bias"]}, "1 keys unexpected: img_emb"),
        ("student", lambda t: t | {"blocks.1.norm3.bias": t["head.head.bias"]}, "blocks.1.norm3.bias (64,) instead of"),
        ("student", lambda t: {n: v for n, v in t.items() if "audio" not in n}, "no tensor audio_proj.proj.weight"),
        ("student", lambda t: t | {"patch_embedding.weight": t["head.head.weight"]}, "has 2 axes, not 5"),
        ("student", lambda t: {n: v for n, v in t.items() if n[:8] not in HIGH}, "sizes that no such network can have"),
        ("vae", lambda t: t | {"encoder.conv1.weight": np.zeros((64, 3, 3, 3, 3), np.float32)}, "sizes that no such"),
        ("taehv", lambda t: t | {"encoder.0.weight": np.zeros((8, 2, 3, 3), np.float32)}, "sizes that no such"),
        ("vae", lambda t: drop(t, "decoder.middle.1.proj.bias"), "1 keys missing: decoder.middle.1.proj.bias"),
        ("vae", lambda t: t | {"conv2.weight": np.zeros((8, 8, 1, 1, 1), np.float32)}, "has 8 latent channels"),
        ("taehv", lambda t: drop(t, "decoder.22.weight"), "1 keys missing: decoder.22.weight"),
        ("taehv", lambda t: drop(t, "encoder.2.conv.weight"), "2 stages in the encoder"),
        ("wav2vec2", lambda t: drop(t, "wav2vec2.encoder.layer_norm.bias"), "missing: encoder.layer_norm.bias"),
        ("syncnet", lambda t: t | {"netfcaud.9.bias": t["netfcaud.3.bias"]}, "1 keys unexpected: netfcaud.9.bias"),
        ("text", lambda t: {"context": t["context"][:, :100]}, "neither a UMT5 encoder nor a text embedding"),
    ],
)  # fmt: skip
def test_checkpoints_of_another_network_are_refused(capsys, tmp_path, release, part, change, sentence):
    path = rewrite(getattr(release, part), tmp_path / "odd.safetensors", change)
    status, out, err = run(capsys, f"--{OPTIONS.get(part, part)}", path, "--out", tmp_path / "w")
    assert status == 2 and out == "" and err.count("\n") == 1 and sentence in err and err.endswith(".\n")
    assert "odd.safetensors" in err and not (tmp_path / "w").exists()


def drop(tensors: dict, name: str) -> dict:
    assert name in tensors
    return {n: v for n, v in tensors.items() if n != name}


def full_disk(kind: str):
    """A `Leaf.read` that fails like a full disk, as the system or as tensorstore says it."""

    def read(_):
        if kind == "system":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise ValueError('RESOURCE_EXHAUSTED: Failed writing "x": [OS error 28: ENOSPC No space left on device]')

    return read


@pytest.mark.parametrize("kind", ["system", "tensorstore"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_the_destination_as_it_was(tmp_path, release, monkeypatch, kind, existing):
    out = tmp_path / "deep" / "w"
    if existing:
        convert(Inputs(taehv=release.taehv, text=release.text), out)
    before = content(tmp_path)
    prepare = conversion.prepare

    def failing(inputs):
        prepared = prepare(inputs)
        leaves = prepared["syncnet"].leaves
        name = max(leaves, key=lambda n: leaves[n].nbytes)
        leaves[name] = replace(leaves[name], read=full_disk(kind))
        return prepared

    monkeypatch.setattr(conversion, "prepare", failing)
    with pytest.raises(UserError, match=r"The disk of .* is full; free some space"):
        convert(Inputs(taehv=release.taehv, syncnet=release.syncnet), out)
    assert content(tmp_path) == before and (tmp_path / "deep").exists() == existing


def test_too_little_space_is_noticed_before_anything_is_written(capsys, tmp_path, release, monkeypatch):
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**5))
    monkeypatch.setattr(piecewise, "write", None)
    status, _, err = run(capsys, "--taehv", release.taehv, "--out", tmp_path / "w")
    assert status == 2 and "has 0 MB free and 1 MB are needed" in err and not (tmp_path / "w").exists()


def test_other_people_s_files_are_never_replaced(tmp_path, release):
    (tmp_path / "taehv").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    before = content(tmp_path)
    with pytest.raises(UserError, match="taehv is in the way"):
        convert(Inputs(taehv=release.taehv), tmp_path)
    convert(Inputs(text=release.text), tmp_path)
    assert content(tmp_path).items() >= before.items()


def test_a_destination_that_can_t_be_one_is_refused(tmp_path, release):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file|can't be made"):
        convert(Inputs(taehv=release.taehv), tmp_path / "file")
    (tmp_path / "w" / ".partial").mkdir(parents=True)
    with pytest.raises(UserError, match="left by a run that was killed"):
        convert(Inputs(taehv=release.taehv), tmp_path / "w")
    assert [p.name for p in (tmp_path / "w").iterdir()] == [".partial"]
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        convert(Inputs(taehv=release.taehv), tmp_path / "v")
    assert content(tmp_path / "v") == {"manifest.json": b"{"}
