"""A drawn face that MTCNN takes for one, for tests of detection and tracking."""

import cv2
import numpy as np


def background(height=240, width=240, seed=0):
    """Smooth texture, so that frames correlate from one to the next as real ones do."""
    noise = np.random.default_rng(seed).uniform(60, 190, (height // 40 + 2, width // 40 + 2, 3))
    return (
        cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        .clip(0, 255)
        .astype(np.uint8)
    )


def draw_face(frame, centre, scale=1.0, mouth=7.0):
    """A copy of the frame with an upright face of about 124 x 174 pixels times `scale` around `centre`."""
    shift = 4  # fractional bits of OpenCV's drawing coordinates

    def fixed(*values):
        return tuple(int(round(value * 2**shift)) for value in values)

    def at(x, y):
        return fixed(centre[0] + scale * x, centre[1] + scale * y)

    def ellipse(x, y, width, height, colour, start=0, end=360, thickness=-1):
        size = fixed(scale * width, scale * height)
        cv2.ellipse(layer, at(x, y), size, 0, start, end, colour, thickness, cv2.LINE_AA, shift)

    def line(start, end, colour, thickness):
        cv2.line(layer, at(*start), at(*end), colour, thickness, cv2.LINE_AA, shift)

    layer = frame.copy()
    thick = max(1, round(3 * scale))
    ellipse(0, -5, 62, 82, (60, 40, 30))
    ellipse(0, 5, 52, 70, (215, 170, 145))
    for side in (-22, 22):
        ellipse(side, -15, 13, 9, (170, 125, 105))
        ellipse(side, -14, 10, 5, (245, 240, 235))
        ellipse(side, -14, 5, 5, (40, 30, 25))
        ellipse(side, -27, 13, 4, (60, 40, 30), 180, 360, thick + 1)
    ellipse(0, 14, 9, 6, (160, 110, 95), 0, 180, thick)
    line((-4, -12), (-6, 10), (190, 145, 125), thick)
    ellipse(0, 38, 19, mouth, (175, 80, 80))
    line((-18, 38), (18, 38), (90, 35, 35), thick - 1)
    return cv2.GaussianBlur(layer, (0, 0), 1.5 * scale)


def true_points(centre, scale=1.0):
    """Left eye, right eye, nose, mouth corners of the drawn face, in pixels."""
    points = np.array([[-22, -14], [22, -14], [0, 14], [-19, 38], [19, 38]])
    return np.asarray(centre) + scale * points
