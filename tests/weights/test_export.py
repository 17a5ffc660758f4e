"""The way back: the reference's files, to the bit."""

import json

import numpy as np
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.errors import UserError
from lipforcing_jax.weights import converted, samples
from lipforcing_jax.weights.convert import Inputs, convert
from lipforcing_jax.weights.export import export
from lipforcing_jax.weights.source import Source, open_source
from lipforcing_jax.weights.wav2vec2_names import IGNORED, bare_name

SIZES = samples.small()
NAMES = {
    "student": "lipforcing_custom.pth", "vae": "Wan2.1_VAE.pth", "taehv": "taew2_1.pth", "wav2vec2": "wav2vec2",
    "syncnet": "syncnet_v2.model", "text": "text_emb.pt",
}  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Inputs:
    return samples.write_release(tmp_path_factory.mktemp("release"), SIZES)


@pytest.fixture(scope="module")
def weights(release, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "weights"
    convert(release, out)
    return out


@pytest.fixture(scope="module")
def back(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "reference"
    assert main(["convert", "--export", "--from", str(weights), "--out", str(out)]) == 0
    return out


def kept(source: Source) -> dict[str, np.ndarray]:
    """Tensors of the network itself."""
    tensors = source.renamed(bare_name).tensors
    return {n: v for n, v in tensors.items() if not n.startswith(IGNORED) and not n.endswith("num_batches_tracked")}


def test_all_files_are_there_and_nothing_else(back):
    assert sorted(p.name for p in back.iterdir()) == sorted(NAMES.values())
    assert sorted(p.name for p in (back / "wav2vec2").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("part", NAMES)
def test_every_tensor_comes_back_to_the_bit(release, back, part):
    given, found = kept(open_source(getattr(release, part))), open_source(back / NAMES[part]).tensors
    assert found.keys() == given.keys()
    for name, value in given.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        assert found[name].tobytes() == value.tobytes(), name


def test_the_files_convert_to_the_same_again(weights, back, tmp_path):
    again = Inputs(**{part: back / name for part, name in NAMES.items()})
    convert(again, tmp_path / "w")
    first, second = converted.read_manifest(weights), converted.read_manifest(tmp_path / "w")
    assert {n: p.config for n, p in first.parts.items()} == {n: p.config for n, p in second.parts.items()}
    chunks = [p.relative_to(weights) for p in weights.glob("*/*/*")]
    assert len(chunks) > 500
    for path in chunks:
        assert (weights / path).read_bytes() == (tmp_path / "w" / path).read_bytes(), path


def test_torch_reads_the_student(back, release):
    torch = pytest.importorskip("torch")
    found = torch.load(back / NAMES["student"], weights_only=True)
    given = torch.load(release.student, weights_only=True)
    assert found.keys() == given.keys()
    assert all(found[name].dtype == torch.bfloat16 and torch.equal(found[name], given[name]) for name in given)


def test_wav2vec2_s_config_is_the_published_one_s(back, release):
    found, given = (json.loads((p / "config.json").read_text()) for p in (back / "wav2vec2", release.wav2vec2))
    assert found.items() <= (given | {"architectures": ["Wav2Vec2Model"]}).items()


def test_the_embedding_comes_back(weights, back):
    found = open_source(back / "text_emb.pt").read("context")
    np.testing.assert_array_equal(found, converted.load_text(weights))


def test_files_in_the_way_are_not_replaced(weights, tmp_path):
    (tmp_path / "taew2_1.pth").write_text("mine")
    with pytest.raises(UserError, match="taew2_1.pth is there already"):
        export(weights, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["taew2_1.pth"] and (tmp_path / "taew2_1.pth").read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(weights, tmp_path, monkeypatch):
    from lipforcing_jax.weights import torch_writer

    def write(path, *_):
        path.write_text("a part of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch_writer, "write", write)
    with pytest.raises(UserError, match="is full"):
        export(weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_folder_of_weights_is_refused(capsys, tmp_path):
    assert main(["convert", "--export", "--from", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no manifest.json" in capsys.readouterr().err and not (tmp_path / "out").exists()
