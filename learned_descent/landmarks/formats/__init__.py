"""Formats of labels, one file each: what is read becomes :class:`Labelled` pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

FormatName: TypeAlias = Literal[
    "csv",
    "csv-points",
    "coco",
    "dlib",
    "labelme",
    "tps",
    "pts",
    "ljson",
    "wflw",
    "cofw",
    "aflw",
]
"""The names of the built-in formats."""

LABEL_FORMATS: Mapping[str, str] = {
    "csv": "learned_descent.landmarks.formats.csv_pictures:CSVPictures",
    "csv-points": "learned_descent.landmarks.formats.csv_points:CSVPoints",
    "coco": "learned_descent.landmarks.formats.coco:COCO",
    "dlib": "learned_descent.landmarks.formats.dlib:DlibXML",
    "labelme": "learned_descent.landmarks.formats.labelme:LabelMe",
    "tps": "learned_descent.landmarks.formats.tps:TPS",
    "pts": "learned_descent.landmarks.formats.point_sets:PTS",
    "ljson": "learned_descent.landmarks.formats.point_sets:LJSON",
    "wflw": "learned_descent.landmarks.formats.lists:WFLW",
    "cofw": "learned_descent.landmarks.formats.lists:COFW",
    "aflw": "learned_descent.landmarks.formats.lists:AFLW",
}
"""The built-in formats, and where each lies: a file is of the first one that its ending and a look
inside allow."""
