"""The landmarks of faces in one photo, given their boxes: what a trained model is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .._check import DescentError, check_shape
from .._files import atomic_write
from ..model import DescentModel
from .alignment import FaceAlignment
from .crops import apply_affine, crop_face, invert_affine, read_photo
from .files import quiet_menpo


class Aligner:
    """A trained model of faces, ready for photos.

    Args:
        model: a model of :class:`FaceAlignment`, trained or loaded.
        device: where it runs.

    Raises:
        DescentError: if the model is one of another problem, or its mean shape was never learnt.

    Example:
        >>> from learned_descent import Cascade
        >>> problem = FaceAlignment(schema="ibug49")
        >>> _ = problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape) - 0.5)  # reading training faces sets it
        >>> aligner = Aligner(Cascade(problem, problem.observation(), num_features=7056, num_updates=98))
        >>> aligner(np.zeros((480, 640, 3), np.uint8), [(120, 80, 260, 220)]).shape
        torch.Size([1, 49, 2])
    """

    def __init__(self, model: DescentModel, *, device: torch.device | str = "cpu") -> None:
        problem = model.problem
        if not isinstance(problem, FaceAlignment):
            raise DescentError(f"model: expected one of faces, got one of the problem {type(problem).__name__}")
        if not problem.mean_shape.isfinite().all():
            raise DescentError("model: its mean shape is not known; train it, or load trained weights")
        self.model = model.to(device).eval()
        self.problem = problem
        self.device = torch.device(device)

    @torch.inference_mode()
    def __call__(
        self, photo: str | Path | UInt8[np.ndarray, "H W 3"], boxes: Sequence[Sequence[float]]
    ) -> Float[Tensor, "B L 2"]:
        """The landmarks of each box, ``(column, row)`` in px of the photo; the centre of its first pixel is ``(0, 0)``.

        Args:
            photo: an image file, or its pixels.
            boxes: the box of each face, ``x0 y0 x1 y1`` in px of the photo, from the detector of the training boxes or one
                that draws them alike.

        Raises:
            DescentError: if the image does not decode or a box cannot hold a face; the message names the file.
        """
        if not len(boxes):
            raise DescentError("boxes: expected at least one box x0 y0 x1 y1, got none")
        pixels = photo if isinstance(photo, np.ndarray) else read_photo(photo)
        crops, ways = [], []
        for box in boxes:
            try:
                crop, to_photo = crop_face(pixels, box, self.problem.crop, self.problem.box_side)
            except DescentError as error:
                raise error if isinstance(photo, np.ndarray) else DescentError(f"{photo}: {error}") from error
            crops.append(crop)
            ways.append(to_photo)
        back = torch.stack(ways)
        corners = torch.tensor([[float(side) for side in box] for box in boxes]).view(-1, 2, 2)
        in_crop = apply_affine(invert_affine(back), corners).flatten(1)
        batch = {"image": torch.stack(crops).to(self.device), "box": in_crop.to(self.device)}
        points = self.problem.points(self.model(batch).final).cpu()
        return apply_affine(back, points)


def draw(
    photo: str | Path | UInt8[np.ndarray, "H W 3"],
    points: Float[Tensor, "B L 2"],
    edges: Sequence[tuple[int, int]],
    boxes: Sequence[Sequence[float]] = (),
) -> Figure:
    """The photo with the landmarks of its faces, joined by the lines of the markup, and their boxes.

    Args:
        photo: an image file, or its pixels.
        points: landmarks, ``(column, row)`` in px of the photo.
        edges: pairs of landmarks to join.
        boxes: boxes ``x0 y0 x1 y1`` to show.

    Returns:
        A figure as large as the photo, but no smaller than 600 px; save it with ``figure.savefig``.
    """
    check_shape(points, "B L 2", name="points")
    pixels = photo if isinstance(photo, np.ndarray) else read_photo(photo)
    height, width = pixels.shape[:2]
    zoom = max(1.0, 600 / max(height, width))
    figure = Figure(figsize=(zoom * width / 100, zoom * height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(pixels, interpolation="lanczos")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    for x0, y0, x1, y1 in boxes:
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="#56B4E9", linewidth=1.2, linestyle="--"))
    for face in points.numpy():
        lines = [(face[first], face[second]) for first, second in edges]
        axes.add_collection(LineCollection(lines, colors="white", linewidths=1.4, alpha=0.8))
        axes.scatter(face[:, 0], face[:, 1], s=9, color="#E8601C", edgecolors="white", linewidths=0.4, zorder=3)
    return figure


def write_landmarks(path: str | Path, points: Float[Tensor, "L 2"]) -> None:
    """Writes landmarks as ``.pts``, which counts pixels from 1, atomically; menpo reads it back.

    Args:
        path: the file; its ending is ``.pts``.
        points: ``(column, row)`` in px, where the centre of the first pixel is ``(0, 0)``.

    Raises:
        DescentError: if the file has another ending, or a point is not finite.
    """
    check_shape(points, "L 2", name="points")
    if Path(path).suffix != ".pts":
        raise DescentError(f"{path}: expected a file name that ends with .pts")
    if not points.isfinite().all():
        raise DescentError(f"{path}: expected finite landmarks to write, got NaN or infinity")
    with quiet_menpo():
        import menpo.io
        from menpo.shape import PointCloud

        cloud = PointCloud(points.double().flip(1).numpy())  # menpo counts rows first
        atomic_write(path, lambda temporary: menpo.io.export_landmark_file(cloud, temporary, overwrite=True))
