"""The command ``convert``: labels of one format, written in another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import DescentError
from .runs import WAY_OUT, prepare_folder

if TYPE_CHECKING:
    from ..landmarks.formats import FormatName


def convert(
    labels: Sequence[Path],
    *,
    to: str,
    output: Path,
    format: str | None = None,  # noqa: A002 - the name of the option
    schema: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Writes labels in another format, or in another markup.

    Args:
        labels: files and folders of labels; their pictures must be there.
        to: the format to write: csv, coco, dlib, pts, ljson, or file.py:Class.
        output: the file to write. Formats of one file a picture have a folder here, that of the
            pictures, so that they are found again.
        format: how the labels are written; by default what ending and content tell.
        schema: a markup, by its name or as a file, that says which points are kept and in which
            order; by default all points.
        overwrite: replace what is there.

    Returns:
        How many labels are written, and where.

    Raises:
        DescentError: if the labels cannot be read, the format is only read or cannot say what they
            say, or a file would be replaced.
    """
    from ..landmarks.formats.find import find_format
    from ..landmarks.labels import Labels, in_schema
    from ..landmarks.schema_file import find_schema

    form = find_format(_named(to))
    own = Labels(tuple(labels), None if format is None else _named(format))
    markup = own.markup() if schema is None else find_schema(schema)
    found = [in_schema(label, markup) for label in own.usable(skip_bad=False)]
    folder, files = output.parent, [output]
    if form.a_file_each:
        folder = output
        files = [output / f"{label.image.stem}{form.endings[0]}" for label in found]
    elif output.suffix.lower() not in form.endings:
        raise DescentError(
            f"--output {output}: expected a file that ends with {' or '.join(form.endings)}"
        )
    for file in files:
        if file.exists() and not overwrite:
            raise DescentError(f"{file}: is there already: {WAY_OUT}")
    prepare_folder(folder)
    form.write(output, found)
    points = f"{markup.num_points} point{'s' * (markup.num_points > 1)}"
    return f"{len(found)} labels of {points} written as {form.name}: {output}"


def _named(name: str) -> FormatName | Path:
    """A format of one's own is a path, so that only what is typed names code."""
    return Path(name) if ":" in name else cast("FormatName", name)
