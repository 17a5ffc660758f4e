"""Folders of converted weights: loaded as they are described, refused when they are not what they say."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.weights import converted, dit_names, parts, samples, tiny_vae_names
from lipforcing_jax.weights.convert import Inputs, convert
from lipforcing_jax.weights.converted import config_of, load_part, load_text, read_manifest
from lipforcing_jax.weights.source import open_source

SIZES = samples.small()


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Inputs:
    folder = tmp_path_factory.mktemp("reference")
    return Inputs(
        student=samples.write_student(folder / "student.pth", SIZES.student),
        taehv=samples.write_taehv(folder / "taehv.pth", SIZES.taehv),
        text=samples.write_text_embedding(folder / "text.pt", SIZES.text),
    )


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "weights"
    convert(given, out)
    return out


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A folder to be damaged."""
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def student() -> DiT:
    return DiT(SIZES.student, rngs=nnx.Rngs(0))


def tiny_vae() -> TinyVAE:
    return TinyVAE(SIZES.taehv, rngs=nnx.Rngs(0))


def same(module: nnx.Module, expected: nnx.State, dtype) -> None:
    found = dict(nnx.to_flat_state(nnx.state(module)))
    wanted = dict(nnx.to_flat_state(expected))
    assert found.keys() == wanted.keys()
    for path, leaf in wanted.items():
        assert found[path][...].dtype == dtype
        np.testing.assert_array_equal(found[path][...], leaf[...].astype(dtype), err_msg=str(path))


def test_parts_load_in_the_precision_in_which_they_are_stored(given, folder):
    source = open_source(given.student)
    same(load_part(folder, "student", student), dit_names.from_reference(source.read, SIZES.student), jnp.bfloat16)
    source = open_source(given.taehv)
    same(load_part(folder, "taehv", tiny_vae), tiny_vae_names.from_reference(source.read, SIZES.taehv), jnp.float16)


def test_parts_load_in_another_precision(given, folder):
    expected = tiny_vae_names.from_reference(open_source(given.taehv).read, SIZES.taehv)
    same(load_part(folder, "taehv", tiny_vae, dtype=jnp.float32), expected, jnp.float32)


MESH = """
import sys
from functools import partial
from pathlib import Path
import jax, numpy as np
from flax import nnx
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.parallel import mesh as meshes, sharding
from lipforcing_jax.weights.converted import config_of, load_part, read_manifest

folder = Path(sys.argv[1])
config = config_of(read_manifest(folder), "student")
make = lambda: DiT(config, rngs=nnx.Rngs(0))
places = partial(sharding.shardings, mesh=meshes.make(meshes.parse("fsdp=2,tensor=4")))
sharded, plain = load_part(folder, "student", make, places=places), load_part(folder, "student", make)
wanted = places(nnx.state(nnx.eval_shape(make)))
for placed, there, here in zip(*map(jax.tree.leaves, (wanted, nnx.state(sharded), nnx.state(plain))), strict=True):
    assert there.sharding == placed and len(here.devices()) == 1
    np.testing.assert_array_equal(np.asarray(there), np.asarray(here))
kernel = sharded.blocks.ffn_in.kernel[...]
assert kernel.addressable_shards[0].data.shape == (config.num_layers, config.dim // 2, config.ffn_dim // 4)
"""


def test_the_student_loads_straight_into_a_mesh_of_eight_devices(folder):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", MESH, str(folder)], env=flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_device_without_room_gets_one_sentence(folder, monkeypatch):
    """The weights are sound, so nobody is told to convert them again."""

    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 28588528943 bytes.")

    monkeypatch.setattr(ocp.StandardCheckpointer, "restore", full)
    with pytest.raises(UserError, match="no room for its share of the weights"):
        load_part(folder, "taehv", tiny_vae)


def test_the_manifest_gives_sizes(folder):
    manifest = read_manifest(folder)
    assert manifest.preset == "custom" and list(manifest.parts) == ["student", "taehv", "text"]
    assert config_of(manifest, "student") == SIZES.student and config_of(manifest, "taehv") == SIZES.taehv
    assert config_of(manifest, "text") == parts.TextConfig(None, 512, SIZES.text.dim)
    with pytest.raises(UserError, match="hold no vae"):
        config_of(manifest, "vae")


def test_the_text_is_the_stored_embedding(given, folder):
    text = load_text(folder)
    assert text.shape == (1, 512, SIZES.text.dim) and text.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(text, open_source(given.text).read("context"))


def change(folder: Path, edit) -> None:
    path = folder / converted.MANIFEST
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1, "par'), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda f: change(f, lambda m: m.update(format=2)), "has format 2, this version reads 1"),
        (lambda f: change(f, lambda m: m.pop("preset")), "manifest.json is damaged"),
        (lambda f: change(f, lambda m: m["parts"].update(brain=m["parts"]["text"])), "manifest.json is damaged"),
        (lambda f: change(f, lambda m: m["parts"]["student"].pop("sources")), "manifest.json is damaged"),
        (lambda f: change(f, lambda m: m["parts"]["taehv"]["config"].pop("patch_size")), "manifest.json is damaged"),
        (lambda f: change(f, lambda m: m["parts"]["taehv"].update(parameters=5)), "parameters instead of 5"),
        (lambda f: shutil.rmtree(f / "student"), "student is missing"),
        (lambda f: (f / "text.safetensors").unlink(), "text.safetensors is missing"),
        (lambda f: (f / "text.safetensors").write_bytes(b"nothing"), "damaged"),
        (lambda f: (f / "student" / "_METADATA").unlink(), "student are damaged"),
        (lambda f: (f / "student" / "head.kernel" / ".zarray").unlink(), "student are damaged"),
    ],
)  # fmt: skip
def test_folders_that_are_not_what_they_say_are_refused(copy, damage, sentence):
    damage(copy)
    with pytest.raises(UserError, match=sentence) as refused:
        read_manifest(copy)
    assert str(refused.value).count("\n") == 0 and str(refused.value).endswith(".")


@pytest.mark.parametrize("damage", [Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:-2])])
def test_numbers_that_are_missing_are_noticed_before_anything_is_loaded(copy, damage):
    damage(copy / "student" / "blocks.ffn_in.kernel" / "3.0.0")
    for read in (lambda: read_manifest(copy), lambda: load_part(copy, "student", student)):
        with pytest.raises(UserError, match="student are damaged; convert them again"):
            read()


def test_a_module_of_other_sizes_is_refused(folder):
    config = replace(SIZES.student, ffn_dim=400)
    with pytest.raises(UserError, match=r"do not fit this student: 3 parameters differ, first blocks\.ffn"):
        load_part(folder, "student", lambda: DiT(config, rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match="do not fit this student"):
        load_part(folder, "student", tiny_vae)


def test_parts_that_are_not_there_are_named(tmp_path, folder):
    with pytest.raises(UserError, match="no vae in"):
        load_part(folder, "vae", tiny_vae)
    with pytest.raises(UserError, match="no text embedding"):
        load_text(tmp_path)
