"""A problem of landmarks that is drawn here: pictures of a kite, some of whose corners nobody has
labelled."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from learned_descent.data.samples import Batch, Split
from learned_descent.landmarks.augmentation import Augmentation
from learned_descent.landmarks.geometry import apply_similarity
from learned_descent.landmarks.problem import Landmarks

SIDE = 48
KITE = torch.tensor(
    [[-1.0, -0.6], [-0.5, -0.6], [0.5, -0.6], [1.0, -0.6], [0.0, 0.2], [-0.4, 0.9], [0.4, 0.9]]
)
SCHEMA = {
    "name": "kite",
    "num_points": 7,
    "mirror_pairs": [[0, 3], [1, 2], [5, 6]],
    "left_eye": [0, 1],
    "right_eye": [2, 3],
    "outer_eye_corners": [0, 3],
    "edges": [[0, 1], [1, 4], [5, 6]],
    "subsets": {"eyes": [0, 1, 2, 3]},
}
SMALL = {"contrast": 0.0, "brightness": 0.0, "colour": 0.0, "noise": 0.0, "occlusion": 0.0}


class Dots(Landmarks):
    """Kites, each corner a dot of its own colour.

    Args:
        missing: the share of the corners that are missing.
        filler: where the data have them; NaN says it without weights.
        **settings: those of :class:`Landmarks`.
    """

    noun = "kite"

    def __init__(self, missing: float = 0.0, filler: float = torch.nan, **settings) -> None:
        defaults = {
            "schema": SCHEMA,
            "normaliser": "inter_ocular",
            "crop": SIDE,
            "box_side": 28.0,
            "val_fraction": 0.2,
            "mirror": False,
            "start_noise": 1.0,
            "augmentation": Augmentation(rotation=10.0, scale=0.05, shift=0.02, **SMALL),
        }
        super().__init__(**{**defaults, **settings})
        self.missing, self.filler = missing, filler

    def _read(self, split: Split) -> Batch:
        count = {"train": 40, "val": 10, "test": 12}[split]
        draw = Generator().manual_seed(count)
        similarity = torch.randn(count, 4, generator=draw) * torch.tensor([0.1, 0.1, 0.08, 0.08])
        middle = (SIDE - 1) / 2
        points = middle + 12 * apply_similarity(similarity, KITE)
        points = points + 0.4 * torch.randn(points.shape, generator=draw)
        half = torch.tensor([-14.0, -14.0, 14.0, 14.0])
        known = torch.rand(count, len(KITE), generator=draw) >= self.missing
        batch = {
            "image": drawn(points),
            "points": torch.where(known.unsqueeze(2), points, self.filler),
            "box": (middle + half).expand(count, 4).clone(),
            "to_photo": torch.eye(2, 3).expand(count, 2, 3).clone(),
        }
        return batch if self.filler != self.filler else {**batch, "weights": known.float()}


def drawn(points: Tensor) -> Tensor:
    """Pictures of dots, ``(N, 3, S, S)``."""
    pixels = torch.arange(float(SIDE))
    along, down = ((pixels - at[..., None]).square() for at in points.unbind(-1))
    spots = (-(down[..., :, None] + along[..., None, :]) / 8).exp()
    colours = torch.rand(points.shape[1], 3, generator=Generator().manual_seed(1))
    return (20 + 220 * torch.einsum("nlyx,lc->ncyx", spots, colours).clamp(max=1)).byte()
