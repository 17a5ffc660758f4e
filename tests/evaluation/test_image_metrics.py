"""SSIM and PSNR beyond the reference numbers of tests/golden_runs/visual_metrics.py."""

import numpy as np
import pytest

from lipforcing_jax.evaluation.image_metrics import grey, psnr, ssim

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("picture", [PICTURE, grey(PICTURE), PICTURE / 255])
def test_equal_pictures(picture):
    assert ssim(picture, picture) == ssim(picture, picture, gaussian=True) == 1
    assert psnr(picture, picture) == np.inf


@pytest.mark.filterwarnings("error")
def test_worse_pictures_score_lower():
    rng = np.random.default_rng(1)
    noisy = [np.clip(PICTURE + rng.normal(0, s, PICTURE.shape), 0, 255).astype(np.uint8) for s in (5, 30)]
    assert 1 > ssim(PICTURE, noisy[0]) > ssim(PICTURE, noisy[1]) > 0
    assert psnr(PICTURE, noisy[0]) > psnr(PICTURE, noisy[1])
    assert ssim(PICTURE / 255, noisy[0] / 255) == pytest.approx(ssim(PICTURE, noisy[0]), abs=1e-9)


def test_a_known_error():
    dark = np.full((16, 16), 100, np.uint8)
    assert psnr(dark, dark + np.uint8(10)) == pytest.approx(20 * np.log10(25.5))


@pytest.mark.parametrize("metric", [ssim, psnr])
def test_other_sizes_are_refused(metric):
    with pytest.raises(ValueError, match="dimensions"):
        metric(PICTURE, PICTURE[:-1])
