"""Face detectors behind one protocol.

`MtcnnDetector` is built in and works offline: the NumPy MTCNN of the package faceie, five points.
`InsightFaceDetector` is the reference's detector (spec inference 2.1), 106 points, an optional extra.
"""

import dataclasses
from typing import Protocol

import cv2
import numpy as np
from faceie.mtcnn import detect_faces
from faceie.mtcnn.model import o_net
from jaxtyping import Float32, Float64, UInt8
from PIL import Image
from threadpoolctl import ThreadpoolController

from lipforcing_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the frame (pixel centres at integers).

    `box` is (left, top, right, bottom); `score` is in [0, 1]; `points` are five (left eye, right eye, nose,
    left and right mouth corner; left as seen in the picture) or the 106 of InsightFace.
    """

    box: Float32[np.ndarray, "4"]
    score: float
    points: Float32[np.ndarray, "n 2"]

    @property
    def area(self) -> float:
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceDetector(Protocol):
    """What the tracker asks of a detector. Frames are uint8 RGB [h, w, 3]."""

    def detect(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """All faces of a frame, the largest first; an empty list when there is none."""

    def refine(self, frame: UInt8[np.ndarray, "h w 3"], box: Float64[np.ndarray, "4"]) -> Face | None:
        """The face known to be about at `box`, measured again; None when no face is there. May be cheap."""


def overlap(first: Float64[np.ndarray, "4"], second: Float64[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), in [0, 1]."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    total = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])) - common
    return common / total if total > 0 else 0.0


def largest_first(faces: list[Face]) -> list[Face]:
    """Faces by falling area; equal areas from left to right, so that the order never depends on luck."""
    return sorted(faces, key=lambda face: (-face.area, float(face.box[0])))


@dataclasses.dataclass(frozen=True)
class MtcnnDetector:
    """MTCNN with five points, without network access.

    `short_sides` are the picture sizes that are tried in turn until one shows a face. In each, faces from
    about 48 pixels height on are found, so the first finds faces from 15 % of the picture's shorter side on.
    `min_score` accepts a detection; `min_refine_score` keeps one whose place is known already.
    """

    short_sides: tuple[int, ...] = (320, 720)
    min_score: float = 0.85
    min_refine_score: float = 0.6
    # The networks are tiny: more than one BLAS thread costs more in waiting than it gains.
    _threads: ThreadpoolController = dataclasses.field(default_factory=ThreadpoolController, repr=False)

    def detect(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        for short_side in self.short_sides:
            scale = min(1.0, short_side / min(frame.shape[:2]))
            faces = self._detect_at(frame, scale)
            if faces or scale == 1.0:
                return faces
        return []

    def _detect_at(self, frame, scale: float) -> list[Face]:
        height, width = (max(12, round(side * scale)) for side in frame.shape[:2])
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        with self._threads.limit(limits=1, user_api="blas"):
            found = _detect_upright(picture)
        to_frame = np.array([frame.shape[1] / width, frame.shape[0] / height])
        faces = []
        columns = (found.probabilities, found.bounding_boxes, found.landmarks)
        for score, box, points in zip(*columns, strict=True):
            if score >= self.min_score:
                box, points = ((xy.reshape(-1, 2) + 0.5) * to_frame - 0.5 for xy in (box, points))
                faces.append(Face(box.reshape(4).astype(np.float32), float(score), points.astype(np.float32)))
        return largest_first(faces)

    def refine(self, frame: UInt8[np.ndarray, "h w 3"], box: Float64[np.ndarray, "4"]) -> Face | None:
        """Only MTCNN's last network, on the box and on its mirror image; the mean of both is steadier."""
        centre, side = (box[:2] + box[2:]) / 2, float(np.max(box[2:] - box[:2]))
        corner = centre - side / 2
        crop = _square(frame, corner, side, 48)
        batch = np.stack([crop, crop[:, ::-1]]).astype(np.float32)
        with self._threads.limit(limits=1, user_api="blas"):
            scores, boxes, points = o_net(np.moveaxis((batch - 127.5) / 128.0, 3, 1))
        score = float(scores.mean())
        if score < self.min_refine_score:
            return None
        boxes, points = boxes.reshape(2, 2, 2), points.reshape(2, 5, 2)
        boxes[1, :, 0], points[1, :, 0] = 1 - boxes[1, ::-1, 0], 1 - points[1, :, 0]
        points[1] = points[1, [1, 0, 2, 4, 3]]
        box, points = (corner + side * xy.mean(axis=0) for xy in (boxes, points))
        return Face(box.reshape(4).astype(np.float32), score, points.astype(np.float32))


def _detect_upright(picture: UInt8[np.ndarray, "h w 3"]):
    """faceie's whole cascade, upright only: each further rotation would cost as much again."""
    return detect_faces(Image.fromarray(picture), rotations=np.zeros(1), extract_images=None)


def _square(frame, corner, side: float, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The square at `corner` (its outer border, in pixel-centre coordinates) at `size`, antialiased."""
    inner = max(1, round(side / size))
    scale = size * inner / side
    matrix = np.array([[scale, 0.0, -corner[0] * scale - 0.5], [0.0, scale, -corner[1] * scale - 0.5]])
    picture = cv2.warpAffine(frame, matrix, (size * inner,) * 2, flags=cv2.INTER_LINEAR)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


class InsightFaceDetector:
    """InsightFace `buffalo_l`, detection and 106 landmarks, the reference's selection (spec inference 2.1).

    The frame is handed over as RGB although the library expects BGR, as the reference does in training and
    inference. Raises UserError when the extra or its weights are missing.
    """

    def __init__(self, root: str = "~/.insightface", min_score: float = 0.5):
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise UserError(
                "The face detector 'insightface' is not installed: "
                "run pip install 'lipforcing-jax[insightface]' or use the built-in detector."
            ) from error
        try:
            self._app = FaceAnalysis(
                name="buffalo_l", root=root, allowed_modules=["detection", "landmark_2d_106"]
            )
            self._app.prepare(ctx_id=0, det_size=(512, 512))
        except Exception as error:  # the library raises many kinds when weights are absent or unreadable
            raise UserError(
                f"The InsightFace weights 'buffalo_l' are not in {root}/models, or can't be read, and could not be "
                f"fetched ({type(error).__name__}): put them there or use the built-in detector."
            ) from error
        self._min_score = min_score

    def detect(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        found = [
            Face(face.bbox.astype(np.float32), float(face.det_score), np.round(face.landmark_2d_106))
            for face in self._app.get(frame)
        ]
        return largest_first([face for face in found if acceptable(face, self._min_score)])

    def refine(self, frame: UInt8[np.ndarray, "h w 3"], box: Float64[np.ndarray, "4"]) -> Face | None:
        """A whole detection: the face that overlaps `box` best."""
        faces = [face for face in self.detect(frame) if overlap(face.box, box) > 0.2]
        return max(faces, key=lambda face: overlap(face.box, box), default=None)


def acceptable(face: Face, min_score: float = 0.5) -> bool:
    """The reference's selection rule: at least 50 x 80 whole pixels, aspect 0.2 to 1.5, score (spec 2.1)."""
    left, top, right, bottom = (int(edge) for edge in face.box)
    width, height = right - left, bottom - top
    if width < 50 or height < 80 or face.score < min_score:
        return False
    return 0.2 <= width / height <= 1.5


DETECTORS = {"mtcnn": MtcnnDetector, "insightface": InsightFaceDetector}


def create_detector(name: str = "mtcnn") -> FaceDetector:
    """The detector of that name. Raises UserError for an unknown name or a missing extra."""
    if name not in DETECTORS:
        raise UserError(f"Unknown face detector '{name}': choose one of {', '.join(DETECTORS)}.")
    return DETECTORS[name]()
