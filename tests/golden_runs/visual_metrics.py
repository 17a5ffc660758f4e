"""SSIM in five forms and PSNR, in float64."""

import cv2
import numpy as np

from golden_runs.component import Checks, Component
from lipforcing_jax.evaluation.image_metrics import grey, psnr, ssim

INPUTS = ("image_", "other_")
TOLERANCE = 1e-9


def to_float(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) / 255


METRICS = {
    "ssim_grey_uint8_default": lambda a, b: ssim(grey(a), grey(b)),
    "ssim_rgb_uint8_channel_axis": ssim,
    "ssim_rgb_float_data_range_1": lambda a, b: ssim(to_float(a), to_float(b)),
    "ssim_grey_gaussian_sigma_1.5_population": lambda a, b: ssim(grey(a), grey(b), gaussian=True),
    "ssim_rgb_gaussian_sigma_1.5_population": lambda a, b: ssim(a, b, gaussian=True),
    "psnr_rgb": psnr,
    "psnr_grey": lambda a, b: psnr(grey(a), grey(b)),
    "psnr_float": lambda a, b: psnr(to_float(a), to_float(b)),
    "mean_absolute_error_rgb": lambda a, b: cv2.absdiff(a, b).mean(),
    "grey_sum": lambda a, b: [grey(a).sum(), grey(b).sum()],
}


def run(case: Component) -> Checks:
    for name, values in case.facts["values"].items():
        pair = case.arrays[f"image_{name}"], case.arrays[f"other_{name}"]
        for metric, golden in values.items():
            yield f"{metric} of {name}", METRICS[metric](*pair), golden, TOLERANCE
