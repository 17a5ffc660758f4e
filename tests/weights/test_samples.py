"""Sample checkpoints have the release's layout, convert, and make networks whose numbers stay finite."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.conditioning import group_audio
from lipforcing_jax.weights import (
    dit_names,
    lora_names,
    parts,
    recipe,
    safetensors_file,
    samples,
    syncnet_names,
    tiny_vae_names,
    torch_file,
    umt5_names,
    wan_vae_names,
    wav2vec2_names,
)
from lipforcing_jax.weights.convert import convert
from lipforcing_jax.weights.source import open_source

SIZES = samples.small()


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return samples.write_release(tmp_path_factory.mktemp("release"), SIZES)


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    return samples.write_parts(tmp_path_factory.mktemp("parts"), SIZES, shards=3)


def numbers(shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


PUBLISHED = {
    "lipforcing_14b.pth": (lambda s: dit_names.manifest(s.student), 0, 2, 28_588_528_943),
    "Wan2.1_VAE.pth": (lambda s: wan_vae_names.manifest(s.vae), 0, 4, 507_609_880),
    "taew2_1.pth": (lambda s: tiny_vae_names.manifest(s.taehv), 0, 2, 22_678_901),
    "wav2vec2-base-960h": (lambda s: wav2vec2_names.manifest(s.wav2vec2), 768 + 32 * 769, 4, 377_607_901),
    "models_t5_umt5-xxl-enc-bf16.pth": (lambda s: umt5_names.manifest(s.text), 0, 2, 11_361_920_418),
    "syncnet_v2.model": (lambda s: syncnet_names.manifest(s.syncnet), 0, 4, 54_573_114),
}
"""What is in each published file, how many numbers more (mask embedding, transcription), bytes of one, of the file."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_fill_the_published_files(name):
    """What a file has beyond its numbers is the description: 100 to 600 bytes a tensor."""
    shapes_of, more, item, size = PUBLISHED[name]
    shapes = shapes_of(samples.published("14b"))
    description = size - item * (numbers(shapes) + more)
    assert 100 <= description / len(shapes) <= 600


def test_the_published_adapter_has_the_stated_tensors():
    """Spec network 5.1 and 5.3: 844 tensors at 14B, and 613 416 960 parameters in the pairs."""
    sizes = samples.published("14b")
    pairs = lora_names.manifest(sizes.student, sizes.lora)
    replaced = samples._replaced(sizes.student)
    assert (len(pairs), numbers(pairs), len(pairs) + len(replaced)) == (800, 613_416_960, 844)


def test_the_student_is_a_flat_dictionary_in_bfloat16(release):
    found = torch_file.read(release.student)
    assert {n: v.shape for n, v in found.items()} == dit_names.manifest(SIZES.student)
    assert {v.dtype for v in found.values()} == {np.dtype(ml_dtypes.bfloat16)}
    name, shape = "blocks.3.ffn.2.weight", (256, 384)
    np.testing.assert_array_equal(found[name], recipe.diffusion_weight(name, shape).astype(ml_dtypes.bfloat16))


def test_torch_reads_every_pickled_file_with_weights_only(release, in_parts):
    torch = pytest.importorskip("torch")
    for path in (release.student, release.vae, release.taehv, release.syncnet, release.text, in_parts.adapter):
        assert torch.load(path, weights_only=True).keys() == torch_file.read(path).keys()
    delta = torch.load(in_parts.delta, weights_only=True)
    assert all(name.startswith("_core.") for name in delta["model"]["net"])


def test_syncnet_is_in_the_format_of_its_time(release):
    assert release.syncnet.read_bytes()[:2] == b"\x80\x02"
    assert torch_file.read(release.syncnet)["netcnnlip.1.num_batches_tracked"].dtype == np.int64


def test_wav2vec2_has_the_published_names(release):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    facts = json.loads((release.wav2vec2 / "config.json").read_text())
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**facts))
    spelt = lambda name: name.replace("parametrizations.weight.original0", "weight_g").replace(  # noqa: E731
        "parametrizations.weight.original1", "weight_v"
    )
    expected = {spelt(name): tuple(value.shape) for name, value in model.state_dict().items()}
    found = safetensors_file.read(release.wav2vec2 / "model.safetensors")
    assert {name: value.shape for name, value in found.items()} == expected


def test_the_base_is_sharded_by_its_index_and_sees_latents_only(in_parts):
    found = open_source(in_parts.base)
    assert len(found.files) == 3 and len(list(in_parts.base.iterdir())) == 4
    assert found.tensors.keys() == {n for n in dit_names.manifest(SIZES.student) if not n.startswith("audio_")}
    assert found.read("patch_embedding.weight").shape == (256, 16, 1, 2, 2)


def test_one_shard_has_no_number(tmp_path):
    """As the 1.3B base is published."""
    folder = samples.write_base(tmp_path, SIZES.student, shards=1)
    assert [p.name for p in folder.iterdir()] == ["diffusion_pytorch_model.safetensors"]


def test_the_same_sizes_make_the_same_files(tmp_path):
    first = samples.write_taehv(tmp_path / "a.pth", SIZES.taehv).read_bytes()
    assert samples.write_taehv(tmp_path / "b.pth", SIZES.taehv).read_bytes() == first


def test_the_parts_convert_to_a_student_of_the_same_sizes(in_parts, tmp_path):
    summary = convert(in_parts, tmp_path / "out")
    assert parts.config_from("student", summary.manifest.parts["student"].config) == SIZES.student


def test_the_encoder_and_its_tokeniser_make_an_embedding(tmp_path):
    from lipforcing_jax.weights.text_encoder import encode_prompt

    path = samples.write_text_encoder(tmp_path / "models_t5_umt5-xxl-enc-bf16.pth", SIZES.text)
    value = encode_prompt(path)
    assert value.shape == (1, 512, SIZES.student.text_dim)
    assert np.abs(value[0, :4]).min() > 0 and not value[0, 4:].any()


def test_sizes_fit_each_other():
    assert SIZES.student.audio_dim == SIZES.wav2vec2.features and SIZES.student.text_dim == SIZES.text.dim
    assert {SIZES.student.latent_channels, SIZES.vae.latent_channels, SIZES.taehv.latent_channels} == {16}


@pytest.fixture(scope="module")
def build(release):
    """A function that makes a network from its sample file."""
    from flax import nnx

    def make(part: str, config, path, rename=lambda name: name):
        found, network = open_source(path).renamed(rename), parts.NETWORKS[part]
        state = jax.tree.map(jnp.asarray, network.names.from_reference(found.read, config))
        return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: network.module(config, rngs=nnx.Rngs(0)))), state)

    return make


def sane(value, most: float = 30.0) -> None:
    """All finite, none gigantic, not all alike."""
    value = np.asarray(value)
    assert np.isfinite(value).all() and np.abs(value).max() < most and value.std() > 1e-3


def test_pictures_stay_sane(build, release):
    frame = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32, 3)), jnp.float32)
    vae = build("vae", SIZES.vae, release.vae)
    latents = jax.jit(lambda v, x: v.encode(x, v.encoder.memory(1, 32, 32), True)[0])(vae, frame)
    sane(latents)
    sane(jax.jit(lambda v, z: v.decode(z, v.decoder.memory(1, 4, 4), True)[0])(vae, latents))
    taehv = build("taehv", SIZES.taehv, release.taehv)
    sane(jax.jit(lambda v, z: v.decode(z)[0])(taehv, latents))


def test_sound_and_flow_stay_sane(build, release):
    ear = build("wav2vec2", SIZES.wav2vec2, release.wav2vec2, wav2vec2_names.bare_name)
    wave = jnp.asarray(recipe.normal("sound", (5 * 640,)), jnp.float32)
    features = jax.jit(wav2vec2.encode, static_argnums=2)(ear, wave, 5)
    sane(features)
    dit = build("student", SIZES.student, release.student)
    channels = jnp.asarray(recipe.normal("channels", (1, 2, 8, 8, 65)), jnp.float32)
    latents, condition = channels[..., :16], channels[..., 16:]
    text = jnp.asarray(torch_file.read(release.text)["context"], jnp.float32)

    @jax.jit
    def flow(dit):
        sound = group_audio(features[None])
        return dit(latents, condition, jnp.full((1, 1), 0.769), dit.text_keys(text), sound, positions=jnp.arange(2))[0]

    assert flow(dit).shape == latents.shape
    sane(flow(dit))
