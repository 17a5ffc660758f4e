"""The tiny autoencoder in TAEHV's own layout against numbers of the reference (components golden `taehv`).

Tolerance 1e-4, the goldens' suggestion for float32: the reference's own rounding error is 4.6e-6.
"""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDENS
from flax import nnx

from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TinyVAE, lead_in
from lipforcing_jax.weights.tiny_vae_names import from_reference

pytestmark = pytest.mark.golden
FACTS = json.loads((GOLDENS / "components" / "taehv.json").read_text())
TOLERANCE = 1e-4


def normal(key: str, shape) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)


def weights(taller: str = ""):
    """The recipe's tensors by name; `taller` names one that is stored for twice the frames."""
    shapes = {name: shape for name, shape, *_ in FACTS["parameters"]}

    def get(name: str) -> np.ndarray:
        shape = list(shapes.pop(name))
        if name == taller:
            shape[0] *= 2
        value = normal(FACTS["weight_key_prefix"] + name, shape)
        return 0.02 * value if name.endswith("bias") else value / np.sqrt(np.prod(shape[1:]))

    return get, shapes


def network(taller: str = "") -> TinyVAE:
    get, left = weights(taller)
    cfg = TinyVAEConfig()
    state = from_reference(get, cfg)
    assert not left, "tensors that the network did not ask for"
    return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: TinyVAE(cfg, rngs=nnx.Rngs(0)))), state)


def latents(case) -> jax.Array:
    facts = case["input"]
    value = (1.5 * normal(facts["key"], facts["shape"])).astype(np.float32)
    return jnp.asarray(value.transpose(0, 1, 3, 4, 2))


def channels_first(frames) -> np.ndarray:
    return np.asarray(frames)[0].transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDENS / "components" / "taehv.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def vae() -> TinyVAE:
    return network()


@pytest.mark.parametrize("case", FACTS["decode_cases"], ids=lambda c: f"t{c['T']}")
def test_decode(case, vae, arrays):
    name, z = f"t{case['T']}", latents(case)
    raw, _ = jax.jit(vae.decoder)(z, vae.decoder.memory(*z.shape[:1], *z.shape[2:4]))
    raw = channels_first(raw)
    np.testing.assert_allclose(raw[:, :, ::2, ::2], arrays[f"raw_{name}"], atol=TOLERANCE)
    shown = np.clip(raw, 0, 1)[3:]
    np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), arrays[f"decoded_{name}_frame_mean"], atol=TOLERANCE)
    np.testing.assert_allclose(shown[:, :, 5::16], arrays[f"decoded_{name}_rows"], atol=TOLERANCE)


def test_decode_as_a_stream(vae, arrays):
    """One latent at a time: 1 then 4 frames after the lead-in, equal to the whole clip up to rounding."""
    z = latents(FACTS["decode_cases"][1])
    memory, frames = None, []
    for i in range(z.shape[1]):
        drawn, memory = vae.decode(z[:, i : i + 1], memory)
        frames.append(channels_first(drawn)[3 if i == 0 else 0 :])
    assert [len(f) for f in frames] == FACTS["decode_cases"][1]["streaming"]["frames_emitted_per_latent"]
    np.testing.assert_allclose(np.concatenate(frames)[:, :, 5::16], arrays["decoded_t7_rows"], atol=TOLERANCE)


def test_weights_stored_for_more_frames_keep_their_last(arrays):
    vae, z = network(taller="decoder.7.conv.weight"), latents(FACTS["decode_cases"][0])
    raw, _ = vae.decoder(z, vae.decoder.memory(*z.shape[:1], *z.shape[2:4]))
    np.testing.assert_allclose(channels_first(raw)[:, :, ::4, ::4], arrays["raw_tall_timegrow"], atol=TOLERANCE)


def test_encode(vae, arrays):
    facts = FACTS["encode_input"]
    frames = np.clip(0.5 + 0.25 * normal(facts["key"], facts["shape"]), 0, 1).astype(np.float32)
    frames = jnp.asarray(frames.transpose(0, 1, 3, 4, 2))
    ends = jnp.concatenate([frames, jnp.repeat(frames[:, -1:], -frames.shape[1] % 4, axis=1)], axis=1)
    for clip, name in ((ends, "encoded_end_padded"), (lead_in(frames), "encoded_front_padded")):
        np.testing.assert_allclose(channels_first(vae.encode(clip)[0]), arrays[name], atol=TOLERANCE)
