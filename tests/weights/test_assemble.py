"""A student from base, adapter and delta: which tensor wins, and how the merge rounds (spec network 5.3)."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.errors import UserError
from lipforcing_jax.models import lora
from lipforcing_jax.models.presets import DiTConfig, LoRAConfig
from lipforcing_jax.weights import dit_names, lora_names, recipe, samples
from lipforcing_jax.weights.assemble import assemble, merged
from lipforcing_jax.weights.source import Source, open_source

CFG = DiTConfig(256, 2, 384, 6, text_dim=64, audio_dim=256)
LORA = LoRAConfig(rank=8, alpha=4.0)
QUERY = "blocks.1.self_attn.q"


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Source, Source, Source]:
    """Base, adapter and delta."""
    given = samples.write_parts(tmp_path_factory.mktemp("parts"), replace(samples.small(), student=CFG, lora=LORA), 3)
    return tuple(open_source(path) for path in (given.base, given.adapter, given.delta))


def wide(value) -> np.ndarray:
    return np.asarray(value, np.float64)


def rounded(value: np.ndarray) -> np.ndarray:
    return wide(np.asarray(value, np.float32).astype(ml_dtypes.bfloat16))


def expected_merge(base: Source, pairs: Source, module: str, style: str) -> np.ndarray:
    """In float64, rounded where the reference rounds."""
    a, b = (rounded(pairs.read(f"{module}.lora_{x}.{style}")) for x in "AB")
    return rounded(rounded(base.read(f"{module}.weight")) + 0.5 * rounded(b @ a))


def same_but_for_ties(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal, but for sums that lie within float32's error of the middle between two bfloat16 numbers."""
    assert found.dtype == ml_dtypes.bfloat16
    off = np.abs(wide(found) - expected)
    assert (off > 0).mean() < 1e-3 and off.max() <= 2**-7 * np.abs(expected).max()


def test_the_adapter_is_merged_where_there_is_no_delta(sources):
    base, adapter, _ = sources
    whole, cfg = assemble(base, adapter)
    assert cfg == CFG and whole.tensors.keys() == dit_names.manifest(CFG).keys()
    same_but_for_ties(whole.read(f"{QUERY}.weight"), expected_merge(base, adapter, QUERY, "weight"))


def test_the_delta_s_pairs_replace_the_adapter_s_and_are_not_stacked(sources):
    base, adapter, delta = sources
    whole, _ = assemble(base, adapter, delta)
    for name in (QUERY, "blocks.5.ffn.0", "blocks.0.ffn.2", "blocks.3.cross_attn.o"):
        found = whole.read(f"{name}.weight")
        same_but_for_ties(found, expected_merge(base, delta, name, "default.weight"))
        without_delta = expected_merge(base, adapter, name, "weight")
        assert (wide(found) != without_delta).mean() > 0.5
    for name in dit_names.manifest(CFG):
        if name.startswith(("patch_embedding.", "audio_")):
            np.testing.assert_array_equal(whole.read(name), delta.read(name).astype(ml_dtypes.bfloat16))


def test_what_nothing_replaces_is_the_base_in_bfloat16(sources):
    base, adapter, delta = sources
    whole, _ = assemble(base, adapter, delta)
    for name in ("blocks.2.modulation", "head.head.weight", "text_embedding.0.weight", f"{QUERY}.bias"):
        assert whole.dtype(name) == ml_dtypes.bfloat16
        np.testing.assert_array_equal(whole.read(name), base.read(name).astype(ml_dtypes.bfloat16))


def test_every_operation_of_the_merge_rounds():
    """To bfloat16, of 8 bits: the factors, the product and the sum each lose what float32 would keep."""

    def merge(weight, a, b) -> float:
        return float(merged(np.asarray([[weight]], ml_dtypes.bfloat16), np.float32([a]).T, np.float32([b]), 0.5)[0, 0])

    assert merge(1, a=[2**-6 + 2**-15], b=[1]) == 1 + 2**-7  # The factor loses 2^-15.
    assert merge(1, a=[2**-7 + 2**-15], b=[1]) == 1  # Had it not, the sum would round up; so it is a tie, to even.
    assert merge(-0.5, a=[1, 1], b=[1 + 2**-7, 2**-9]) == 2**-8  # The product loses 2^-9.
    assert merged(np.float32([[1]]), np.float32([[0.25]]), np.float32([[3]]), 0.5)[0, 0] == 1.375


def test_the_scale_is_the_configured_one_whatever_the_rank(sources):
    base, adapter, _ = sources
    doubled, _ = assemble(base, adapter, lora=LoRAConfig(rank=128, alpha=128.0), precision=np.float32)
    usual, _ = assemble(base, adapter, precision=np.float32)
    plain = base.read(f"{QUERY}.weight")
    once, twice = usual.read(f"{QUERY}.weight") - plain, doubled.read(f"{QUERY}.weight") - plain
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-7)
    assert np.abs(once).max() > 1e-3


def test_in_float32_the_student_equals_the_merge_of_parameter_trees(sources):
    """Reading, mapping and merging commute: tree by tree gives what file by file gives."""
    base, adapter, delta = sources
    whole, _ = assemble(base, adapter, delta, precision=np.float32)
    injected = delta.renamed(lora_names.adapter_name)
    unmerged = dit_names.from_reference(lambda n: (delta if n in delta.tensors else base).read(n), CFG)
    expected = lora.merge(unmerged, lora_names.from_reference(injected.read, CFG, LORA), LORA)
    found = dict(nnx.to_flat_state(dit_names.from_reference(whole.read, CFG)))
    for path, leaf in nnx.to_flat_state(expected):
        np.testing.assert_allclose(found[path][...], leaf[...], rtol=0, atol=1e-6, err_msg=str(path))


def test_a_delta_trained_as_a_whole_already_contains_the_adapter(sources):
    """The 1.3B student: plain keys, no pairs."""
    base, adapter, _ = sources
    trained = {f"{QUERY}.weight": recipe.normal("trained", (256, 256)).astype(np.float32)}
    whole, _ = assemble(base, adapter, Source(trained, base.files))
    np.testing.assert_array_equal(whole.read(f"{QUERY}.weight"), trained[f"{QUERY}.weight"].astype(ml_dtypes.bfloat16))
    other = "blocks.1.self_attn.k"
    same_but_for_ties(whole.read(f"{other}.weight"), expected_merge(base, adapter, other, "weight"))


def test_an_injected_model_s_base_layers_are_its_matrices(sources):
    base, adapter, delta = sources
    injected = base.renamed(lambda n: n.replace(f"{QUERY}.", f"{QUERY}.base_layer."))
    assert f"{QUERY}.base_layer.weight" in injected.tensors
    found, expected = (assemble(source, adapter, delta)[0] for source in (injected, base))
    np.testing.assert_array_equal(found.read(f"{QUERY}.weight"), expected.read(f"{QUERY}.weight"))


def test_channels_that_an_older_patch_embedding_lacks_are_zeros(sources):
    base, adapter, _ = sources
    narrow = adapter.tensors["patch_embedding.weight"][:, :49]
    older = replace(adapter, tensors=adapter.tensors | {"patch_embedding.weight": narrow})
    found = assemble(base, older)[0].read("patch_embedding.weight")
    assert found.shape == (256, 65, 1, 2, 2) and not found[:, 49:].any()
    np.testing.assert_array_equal(found[:, :49], narrow)


def without(source: Source, *names: str) -> Source:
    assert set(names) <= source.tensors.keys()
    return replace(source, tensors={n: v for n, v in source.tensors.items() if n not in names})


def wider(source: Source, name: str) -> Source:
    return replace(source, tensors=source.tensors | {name: np.zeros((3, *source.tensors[name].shape[1:]), np.float32)})


@pytest.mark.parametrize(
    ("which", "change", "sentence"),
    [
        (0, lambda s: without(s, "blocks.2.ffn.0.bias"), "1 keys missing: blocks.2.ffn.0.bias"),
        (0, lambda s: replace(s, tensors=s.tensors | {"img_emb.proj": s.tensors["head.head.bias"]}), "img_emb.proj"),
        (1, lambda s: without(s, "patch_embedding.weight"), "no tensor patch_embedding.weight"),
        (1, lambda s: without(s, "audio_cond_projs.1.bias"), "1 keys missing: audio_cond_projs.1.bias"),
        (1, lambda s: without(s, f"{QUERY}.lora_B.weight"), f"1 keys missing: {QUERY}.lora_B.weight"),
        (1, lambda s: wider(s, f"{QUERY}.lora_B.weight"), "1 keys of another shape: blocks.1.self_attn.q.lora_B"),
        (2, lambda s: without(s, f"{QUERY}.lora_A.default.weight"), f"1 keys missing: {QUERY}.lora_A.weight"),
        (2, lambda s: wider(s, "audio_proj.proj.bias"), "1 keys of another shape: audio_proj.proj.bias"),
    ],
)
def test_parts_that_do_not_fit_are_refused(sources, which, change, sentence):
    given = list(sources)
    given[which] = change(given[which])
    with pytest.raises(UserError, match=sentence.replace(".", r"\.")):
        assemble(*given[:2] if which < 2 else given)
