"""Formats of labels, one file each: what is read becomes :class:`Labelled` pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

FormatName: TypeAlias = Literal["csv", "csv-points"]
"""The names of the built-in formats."""

LABEL_FORMATS: Mapping[str, str] = {
    "csv": "learned_descent.landmarks.formats.csv_pictures:CSVPictures",
    "csv-points": "learned_descent.landmarks.formats.csv_points:CSVPoints",
}
"""The built-in formats, and where each lies: a file is of the first one that its ending and a look
inside allow."""
