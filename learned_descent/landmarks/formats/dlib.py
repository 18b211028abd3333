"""The XML of dlib and its tool imglab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final
from xml.etree import ElementTree

import torch

from ...errors import DescentError
from ...files import atomic_write
from .documents import find_image, in_order
from .format import LabelFormat, Labelled, one_markup, parse_number, relative


@final
class DlibXML(LabelFormat):
    """The XML of dlib and imglab: boxes in pictures, and named parts in boxes.

    Parts that are numbers are points in their order. A part that a box lacks is not labelled; boxes
    with ``ignore`` are passed over. A box of ``width`` 1 holds one column of pixels. Written
    positions are whole pixels, for dlib reads no others.

    Raises:
        DescentError: if the file is no XML of this kind, a number is none, or a part is there
            twice.

    References:
        D. E. King. Dlib-ml: a machine learning toolkit. JMLR 10, 2009.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wings.xml"
        >>> _ = file.write_text("<dataset><images><image file='a.png'>"
        ...     "<box top='2' left='1' width='60' height='40'><part name='0' x='3' y='4'/>"
        ...     "<part name='1' x='50' y='6'/></box></image></images></dataset>")
        >>> label, = DlibXML().read(file)
        >>> label.points.tolist(), label.box
        ([[3.0, 4.0], [50.0, 6.0]], (1.0, 2.0, 60.0, 41.0))
    """

    name = "dlib"
    endings = (".xml",)

    def fits(self, path: Path) -> bool:
        return _root(path).tag == "dataset"

    def read(self, path: Path) -> list[Labelled]:
        boxes = [
            _Box.of(path, image.get("file") or "", box)
            for image in _root(path).iter("image")
            for box in image.iter("box")
            if box.get("ignore") in (None, "0") and box.find("part") is not None
        ]
        if not boxes:
            raise DescentError(f"{path}: no box with parts in it; label some")
        names, named = in_order(name for box in boxes for name in box.parts)
        return [box.labelled(path, names, named) for box in boxes]

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        names = one_markup(path, labelled) or [f"{n:02d}" for n in range(len(labelled[0].points))]
        root = ElementTree.Element("dataset")
        images = ElementTree.SubElement(root, "images")
        made: dict[Path, ElementTree.Element] = {}
        for label in labelled:
            file = {"file": relative(label.image, path.parent)}
            if label.image not in made:
                made[label.image] = ElementTree.SubElement(images, "image", file)
            x0, y0, x1, y1 = map(round, label.box or label.around())
            sides = {"top": y0, "left": x0, "width": x1 - x0 + 1, "height": y1 - y0 + 1}
            words = {side: str(value) for side, value in sides.items()}
            box = ElementTree.SubElement(made[label.image], "box", words)
            for name, (x, y), weight in zip(names, label.points.tolist(), label.weights.tolist()):
                if weight:
                    part = {"name": name, "x": str(round(x)), "y": str(round(y))}
                    ElementTree.SubElement(box, "part", part)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
        atomic_write(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


@dataclass(frozen=True)
class _Box:
    """A box of a file, with the positions of its parts by name."""

    where: str
    image: str
    corners: tuple[float, float, float, float]
    parts: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, path: Path, image: str, box: ElementTree.Element) -> _Box:
        where = f"{path}: {image or 'an image without a file'}"

        def value(element: ElementTree.Element, key: str) -> float:
            if element.get(key) is None:
                raise DescentError(f"{where}: a {element.tag} has no {key}; add it")
            return parse_number(element.get(key, ""), where, key)

        left, top = value(box, "left"), value(box, "top")
        right, bottom = left + value(box, "width") - 1, top + value(box, "height") - 1
        parts: dict[str, tuple[float, float]] = {}
        for part in box.iter("part"):
            name = part.get("name") or ""
            if name in parts:
                raise DescentError(f"{where}: a box has the part {name!r} twice; keep one")
            parts[name] = (value(part, "x"), value(part, "y"))
        return cls(where, image, (left, top, right, bottom), parts)

    def labelled(self, path: Path, names: Sequence[str], named: bool) -> Labelled:
        nowhere = (torch.nan, torch.nan)
        points = [self.parts.get(name, nowhere) for name in names]
        image = find_image(path, self.image)
        return Labelled.of(
            image, points, self.where, names=names if named else (), box=self.corners
        )


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DescentError(f"{path}: expected an XML file: {error}") from error
