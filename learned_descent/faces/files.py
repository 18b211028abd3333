"""The files of annotated faces: which belong together."""

from __future__ import annotations

BOXES = "bounding_boxes"
"""The folder, beside the parts, that holds a box for each image: four corners as landmarks."""

IMAGES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
