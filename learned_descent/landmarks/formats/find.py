"""The labels behind the paths that a user gives: which files hold them, and in which format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...data.samples import Split
from ...errors import DescentError, calling, check_choice
from ...registry import builtin, resolve_class
from . import LABEL_FORMATS, FormatName
from .documents import forget_json
from .format import LabelFormat, Labelled
from .tables import read_titles

_FOLDERS: Sequence[Split] = ("train", "val", "test")
_NO_LABELS = {"schema", "boxes", "bounding_boxes"}
"""How files and folders are called that lie beside labels and are none."""


def find_format(given: FormatName | Path) -> LabelFormat:
    """The format of a built-in name, or of ``file.py:Class``, which must be a path.

    A weights file can say text, but no path: so it never makes anybody run a file.

    Raises:
        DescentError: if there is no such format.

    Example:
        >>> find_format("csv").endings
        ('.csv', '.tsv')
    """
    if not isinstance(given, Path):
        check_choice(given, FormatName, name="format")
    cls = resolve_class(str(given), LabelFormat, LABEL_FORMATS, what="format")
    made: LabelFormat = cls()
    return made


def read_labels(
    paths: Sequence[Path],
    format: FormatName | Path | None = None,  # noqa: A002 - as on the command line
) -> list[Labelled]:
    r"""The labels of files and folders, one after the other.

    A folder holds files of labels of one format, at any depth; where it holds folders ``train`` and
    ``test`` (and ``val``), these are the parts of the data.

    Args:
        paths: files and folders.
        format: the format of all of them; by default that of the ending of each file, and of a look
            inside.

    Raises:
        DescentError: if a path is missing or holds no labels, if files of several formats lie in
            one folder, or as the format says.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "wings.csv").write_text("image,x0,y0\na.png,3,4\n")
        >>> [label.where for label in read_labels([folder])] == [f"{folder / 'wings.csv'}:2"]
        True
    """
    if not paths:
        raise DescentError("data: expected files or folders of labels, got none; give --data FILE")
    known = None if format is None else find_format(format)
    try:
        return [label for path in paths for label in _read(Path(path), known)]
    finally:
        forget_json()


def _read(path: Path, known: LabelFormat | None) -> list[Labelled]:
    if path.is_dir():
        parts = [part for part in _FOLDERS if (path / part).is_dir()]
        if "train" not in parts and "test" not in parts:
            return _read_folder(path, known)
        return [
            replace(label, split=part)
            for part in parts
            for label in _read_folder(path / part, known)
        ]
    if not path.is_file():
        raise DescentError(f"data: there is no file or folder {path}; check the path")
    return _labels(path, _of_file(path, known or _recognised(path)))


def _labels(path: Path, form: LabelFormat) -> list[Labelled]:
    with calling(f"{path}: reading it as {form.name}"):  # what is odd in a new way, and own formats
        return form.read(path)


def _of_file(path: Path, found: LabelFormat | None) -> LabelFormat:
    if found is None and path.suffix.lower() in (".csv", ".tsv") and (first := read_titles(path)):
        raise DescentError(
            f"data: {path}: no format is known by this ending and its first row, "
            f"{','.join(first[:5])}: expected titles such as image,x0,y0,x1,y1 or image,point,x,y"
            "; add or mend them"
        )
    if found is None:
        raise DescentError(
            f"data: {path}: no format is known by this ending and content; expected one of "
            f"{', '.join(LABEL_FORMATS)}: name it with --problem.format"
        )
    return found


def _read_folder(folder: Path, known: LabelFormat | None) -> list[Labelled]:
    """The labels of all files in a folder, in the order of their names."""
    kinds: dict[str, LabelFormat] = {}
    labels: list[Labelled] = []
    for path in sorted(folder.rglob("*")):
        names = {path.stem, *path.relative_to(folder).parts}
        hidden = any(name.startswith(".") for name in names)
        if hidden or names & _NO_LABELS or not path.is_file():
            continue
        fits = known is not None and path.suffix.lower() in known.endings and known.fits(path)
        found = known if fits else (None if known else _recognised(path))
        if found is not None:
            kinds.setdefault(found.name, found)
            labels.extend(_labels(path, found))
        if len(kinds) > 1:
            raise DescentError(
                f"data: {folder} holds labels in several formats, {' and '.join(kinds)}: name the "
                "one that is meant with --problem.format, or the file"
            )
    if not labels:
        wanted = ", ".join(LABEL_FORMATS) if known is None else known.name
        raise DescentError(
            f"data: there are no labels in {folder}; expected files of one of the formats {wanted}"
        )
    return labels


def _recognised(path: Path) -> LabelFormat | None:
    """The first format that the ending of a file, and a look inside, allow."""
    ending = path.suffix.lower()
    for target in LABEL_FORMATS.values():
        cls: type[LabelFormat] = builtin(target)
        if ending in cls.endings and (made := cls()).fits(path):
            return made
    return None
