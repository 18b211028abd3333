"""COCO keypoints: one JSON file for all pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from ...data.pictures import picture_size
from ...errors import DescentError
from ...files import write_json
from .documents import entry, find_image, in_order, numbers_of, read_json
from .format import LabelFormat, Labelled, one_markup, relative

_LABELLED = 2
"""What COCO calls a point that is labelled and seen; 1 is labelled and hidden, 0 not labelled."""


@final
class COCO(LabelFormat):
    """COCO keypoints: ``images``, ``annotations`` with ``keypoints`` and ``bbox``, ``categories``.

    A point is ``x, y, v``: with ``v = 0`` it is not labelled; 1, hidden, and 2 count alike.
    Keypoints of a category that are numbers are no names. Annotations without labelled points, and
    of crowds, are passed over. Pictures are found by their ``file_name`` from the file, or in a
    folder ``images`` beside it or above.

    Raises:
        DescentError: if the file is broken, names a picture that it does not list, or holds
            keypoints of several categories.

    References:
        T.-Y. Lin et al. Microsoft COCO: common objects in context. ECCV 2014.

    Example:
        >>> import json, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wings.json"
        >>> wing = {"image_id": 7, "category_id": 1, "keypoints": [3, 4, 2, 0, 0, 0]}
        >>> _ = file.write_text(json.dumps({"images": [{"id": 7, "file_name": "a.png"}],
        ...     "annotations": [wing], "categories": [{"id": 1, "keypoints": ["root", "tip"]}]}))
        >>> label, = COCO().read(file)
        >>> label.names, label.weights.tolist(), label.image.name
        (('root', 'tip'), [1.0, 0.0], 'a.png')
    """

    name = "coco"
    endings = (".json",)

    def fits(self, path: Path) -> bool:
        found = read_json(path)
        return isinstance(found, Mapping) and {"images", "annotations"} <= {*found}

    def read(self, path: Path) -> list[Labelled]:
        found = read_json(path)
        images = {
            entry(image, "id", f"{path}: images[{place}]"): entry(
                image, "file_name", f"{path}: images[{place}]"
            )
            for place, image in enumerate(entry(found, "images", str(path), list))
        }
        names = {
            category.get("id"): tuple(map(str, category.get("keypoints", ())))
            for category in entry(found, "categories", str(path), list)
        }
        labels: list[Labelled] = []
        kinds: set[Any] = set()
        for place, annotation in enumerate(entry(found, "annotations", str(path), list)):
            where = f"{path}: annotations[{place}]"
            keypoints = numbers_of(annotation, "keypoints", where)
            if not any(keypoints[2::3]) or annotation.get("iscrowd"):
                continue
            image = entry(annotation, "image_id", where)
            if image not in images:
                raise DescentError(f"{where}: there is no image with the id {image!r} in the file")
            kind = annotation.get("category_id")
            kinds.add(kind)
            file = find_image(path, str(images[image]))
            labels.append(_labelled(annotation, keypoints, file, names.get(kind, ()), where))
        if len(kinds) > 1:
            raise DescentError(
                f"{path}: it holds the keypoints of {len(kinds)} categories, expected one markup; "
                "keep the annotations of one category"
            )
        if not labels:
            raise DescentError(f"{path}: no annotation has a labelled keypoint; add some")
        return labels

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        names = one_markup(path, labelled) or tuple(map(str, range(len(labelled[0].points))))
        files = list(dict.fromkeys(label.image for label in labelled))
        sizes = [picture_size(file) for file in files]
        write_json(
            path,
            {
                "images": [
                    {
                        "id": number,
                        "file_name": relative(file, path.parent),
                        "width": size[1],
                        "height": size[0],
                    }
                    for number, (file, size) in enumerate(zip(files, sizes), 1)
                ],
                "annotations": [
                    {"id": number, "image_id": files.index(label.image) + 1, **_annotation(label)}
                    for number, label in enumerate(labelled, 1)
                ],
                "categories": [{"id": 1, "name": "object", "keypoints": names, "skeleton": []}],
            },
        )


def _labelled(
    annotation: Mapping[str, Any],
    keypoints: Sequence[float],
    image: Path,
    names: Sequence[str],
    where: str,
) -> Labelled:
    if len(keypoints) % 3:
        raise DescentError(
            f"{where}: expected x, y and v of each point, got {len(keypoints)} numbers"
        )
    if names and 3 * len(names) != len(keypoints):
        raise DescentError(
            f"{where}: {len(keypoints) // 3} points, and its category has {len(names)}; mend it"
        )
    rows = torch.tensor(keypoints, dtype=torch.float64).view(-1, 3)
    known = rows[:, 2] > 0
    points = torch.where(known.unsqueeze(1), rows[:, :2], torch.nan)
    box = None
    if annotation.get("bbox"):
        x, y, width, height = numbers_of(annotation, "bbox", where, 4)
        box = [x, y, x + width, y + height]
    _, named = in_order(names)  # numbers are written where there are no names
    return Labelled.of(
        image, points, where,
        weights=known.double().tolist(), names=names if named else (), box=box,
    )  # fmt: skip


def _annotation(label: Labelled) -> dict[str, Any]:
    """The numbers of a label; one that weighs less than 1 cannot be said."""
    if not ((label.weights == 0) | (label.weights == 1)).all():
        raise DescentError(
            f"{label.where}: a point weighs neither 0 nor 1, which COCO cannot say; write csv"
        )
    known = label.weights[:, None]
    rows = torch.cat([label.points.nan_to_num() * known, _LABELLED * known], 1)
    x0, y0, x1, y1 = label.box or label.around()
    return {
        "category_id": 1,
        "iscrowd": 0,
        "area": (x1 - x0) * (y1 - y0),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "num_keypoints": int(known.sum()),
        "keypoints": rows.flatten().tolist(),
    }
