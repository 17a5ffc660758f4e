"""The camera and the codec: softness, sharpening, sensor noise, white balance and block compression per
frame.

Everything is local in the picture and seeded, so two clips that differ only in the mouth still differ only
there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8


@dataclass(frozen=True)
class Camera:
    """Picture quality of one clip; sigmas in pixels of a 128-pixel crop, quality is JPEG's 1 ... 100."""

    seed: int
    blur: float
    sharpen: float
    noise: float
    noise_size: float
    gamma: float
    balance: tuple[float, float, float]
    vignette: float
    quality: int
    codec_scale: float


def sample_camera(seed: int) -> Camera:
    """Random camera; many are good, some are bad."""
    rng = np.random.default_rng([int(seed), 9907])
    red, green, blue = 1 + np.clip(rng.normal(0, 0.03, 3), -0.08, 0.08)
    return Camera(
        seed=int(seed),
        blur=float(rng.uniform(0.15, 1.3) ** 1.2),
        sharpen=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.35 else 0.0,
        noise=float(rng.uniform(0.0, 1.0) ** 2.5 * 0.022),
        noise_size=float(rng.uniform(0.0, 1.0)),
        gamma=float(np.exp(rng.normal(0, 0.08))),
        balance=(float(red), float(green), float(blue)),
        vignette=float(rng.uniform(0, 0.25)),
        quality=int(rng.integers(35, 96)),
        codec_scale=float(rng.uniform(0.8, 1.6)),
    )


def clean_camera(seed: int = 0) -> Camera:
    """A camera that adds nothing but rounding."""
    return Camera(int(seed), 0.0, 0.0, 0.0, 0.0, 1.0, (1.0, 1.0, 1.0), 0.0, 100, 1.0)


@dataclass(frozen=True)
class Sensor:
    """A camera made ready for one picture size: gain per pixel and channel, a noise field to cut from and
    the 8-bit response curve."""

    camera: Camera
    scale: float
    gain: Float32[np.ndarray, "h w 3"]
    noise: Float32[np.ndarray, "h2 w2 3"] | None
    response: UInt8[np.ndarray, " 256"]


def make_sensor(camera: Camera, height: int, width: int, scale: float) -> Sensor:
    """Precomputes what every frame of that size shares; `scale` is the aligned crop's size over 128
    pixels.
    """
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    fall = 1.0 - np.float32(camera.vignette) * (x * x + y * y) / 2
    gain = fall[..., None] * np.asarray(camera.balance, np.float32)
    noise = None
    if camera.noise > 0:
        rng = np.random.default_rng([camera.seed, 9908])
        noise = rng.standard_normal((height + 64, width + 64, 3), dtype=np.float32)
        noise = 0.75 * noise.mean(axis=-1, keepdims=True) * np.float32(1.7) + 0.5 * noise
        sigma = camera.noise_size * scale
        if sigma > 0.3:
            noise = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(1 + 1.0 * sigma)
    response = 255.0 * (np.arange(256) / 255.0) ** camera.gamma + 0.5
    return Sensor(camera, scale, np.ascontiguousarray(gain), noise, response.astype(np.uint8))


def expose(
    sensor: Sensor, picture: Float32[np.ndarray, "h w 3"], frame: int, light: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Turns a rendered picture (display-referred, [0, 1]) into the 8-bit frame number `frame` of a clip."""
    camera = sensor.camera
    sigma = camera.blur * sensor.scale
    if sigma > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    if camera.sharpen:
        wide = cv2.GaussianBlur(picture, (0, 0), 1.2 * sensor.scale, borderType=cv2.BORDER_REFLECT_101)
        picture = picture + np.float32(camera.sharpen) * (picture - wide)
    picture = picture * (sensor.gain * np.float32(255.0 * light))
    if sensor.noise is not None:
        row, column = np.random.default_rng([camera.seed, frame, 9909]).integers(0, 64, 2)
        height, width = picture.shape[:2]
        field = sensor.noise[row : row + height, column : column + width]
        picture += np.float32(255.0 * camera.noise) * field
    picture += np.float32(0.5)
    pixels = cv2.LUT(np.clip(picture, 0, 255, out=picture).astype(np.uint8), sensor.response)
    return pixels if camera.quality >= 100 else _compress(camera, pixels)


def _compress(camera: Camera, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """One pass of a block codec, at the codec's own resolution."""
    height, width = pixels.shape[:2]
    other = (int(round(width * camera.codec_scale)), int(round(height * camera.codec_scale)))
    small = cv2.resize(pixels, other, interpolation=cv2.INTER_LINEAR)
    _, stream = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    back = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    return cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR)
