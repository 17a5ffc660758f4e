import hashlib
import json

import numpy as np
import pytest
from conftest import GOLDENS

from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask, soft_mask


@pytest.fixture(scope="module")
def golden():
    folder = GOLDENS / "components"
    with np.load(folder / "mouth_mask.npz") as arrays:
        return json.loads((folder / "mouth_mask.json").read_text())["facts"], dict(arrays)


def packed_digest(mask):
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


@pytest.mark.golden
def test_masks_equal_the_reference_exactly(golden):
    facts, arrays = golden
    np.testing.assert_array_equal(pixel_mask(256), arrays["source_256"])
    np.testing.assert_array_equal(np.packbits(pixel_mask(512)), arrays["pixel_512_bits"])
    np.testing.assert_array_equal(latent_mask(64), arrays["latent_64"])
    assert packed_digest(pixel_mask(512)) == facts["pixel_512"]["sha256_of_packed_bits"]
    assert packed_digest(latent_mask(64)) == facts["latent_64"]["sha256_of_packed_bits"]


@pytest.mark.golden
def test_soft_mask_equals_the_reference_exactly(golden):
    facts, arrays = golden
    mask = soft_mask(512)
    np.testing.assert_array_equal(np.round(mask[::16] * 255).astype(np.uint8), arrays["soft_512_rows"])
    assert int((mask == 0).sum()) == facts["soft_512"]["exactly_zero"]
    assert int((mask == 1).sum()) == facts["soft_512"]["exactly_one"]
    assert float(mask.sum(dtype=np.float64)) == pytest.approx(facts["soft_512"]["sum"], abs=1e-2)


@pytest.mark.parametrize("size", [16, 96, 128])
def test_any_size_keeps_the_share_and_the_convention(size):
    for mask in (pixel_mask(size), latent_mask(size)):
        assert mask.shape == (size, size)
        assert 1 - mask.mean() == pytest.approx(0.407, abs=0.05)
        assert mask[0].all()
        assert not mask[int(0.65 * size), size // 2]
