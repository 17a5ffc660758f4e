import pytest

from lipforcing_jax.media.mouth_mask import latent_mask, pixel_mask


@pytest.mark.parametrize("size", [16, 96, 128])
def test_any_size_keeps_the_share_and_the_convention(size):
    for mask in (pixel_mask(size), latent_mask(size)):
        assert mask.shape == (size, size)
        assert 1 - mask.mean() == pytest.approx(0.407, abs=0.05)
        assert mask[0].all()
        assert not mask[int(0.65 * size), size // 2]
