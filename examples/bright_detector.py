"""A detector of one's own, which takes what is bright for a face: python
examples/bright_detector.py PHOTO"""

import sys

import numpy as np

from learned_descent.landmarks.aligner import Aligner
from learned_descent.landmarks.detector import Detector


class Bright(Detector):
    """One box around all that is brighter than most of the photo, for pictures of one face before a
    dark wall."""

    name = "bright"  # trained weights keep the calibration of its boxes under this name

    def __call__(self, photo):
        bright = photo.mean(2) > (float(photo.min()) + float(photo.max())) / 2
        rows, columns = np.nonzero(bright)
        if not len(rows):
            return []  # an even picture: no face
        (left, right), (top, bottom) = (np.quantile(side, (0.02, 0.98)) for side in (columns, rows))
        return [(float(left), float(top), float(right), float(bottom))]


def main(photo, weights="mdm"):
    """The faces of a photo, with the landmarks of trained weights."""
    return Aligner.from_pretrained(weights, detector=Bright())(photo)


if __name__ == "__main__":
    for face in main(sys.argv[1]):
        print(f"box {[round(side) for side in face.box]}, {len(face.landmarks)} landmarks")
