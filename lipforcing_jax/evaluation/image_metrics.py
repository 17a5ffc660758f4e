"""Likeness of pictures: SSIM and PSNR, by scikit-image, in the forms that the field's tables use.

Pictures are [h, w, 3] or [h, w], either uint8 or float in [0, 1]; both of a pair are of the same kind.
"""

import cv2
import numpy as np
from jaxtyping import Num, UInt8
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def grey(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Lightness of an RGB picture by OpenCV's rule."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def ssim(image: Num[np.ndarray, "h w *c"], other: Num[np.ndarray, "h w *c"], *, gaussian: bool = False) -> float:
    """Structural similarity, at most 1; of colours, the mean over the channels.

    The plain form has 7 x 7 even windows and sample covariance, and is what the reference's evaluation applies to grey
    pictures. `gaussian` is the form of the SSIM paper: sigma 1.5 and population covariance.

    Raises:
      ValueError: the shapes differ, or a picture is smaller than the window.
    """
    form = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if gaussian else {}
    axis = -1 if image.ndim == 3 else None
    return float(structural_similarity(image, other, channel_axis=axis, data_range=data_range(image), **form))


def psnr(image: Num[np.ndarray, "h w *c"], other: Num[np.ndarray, "h w *c"]) -> float:
    """Peak signal-to-noise ratio in decibels; infinite where both are equal.

    Raises:
      ValueError: the shapes differ.
    """
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(image, other, data_range=data_range(image)))


def data_range(image: Num[np.ndarray, "h w *c"]) -> float:
    """From black to white in a picture's own units."""
    return 255.0 if image.dtype == np.uint8 else 1.0
