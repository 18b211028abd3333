"""Trained weights that come with the package, found by name: ``NAME.safetensors``, and their model
card ``NAME.md``.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DescentError

FOLDER = Path(__file__).parent
"""Where the weights lie."""


def weights_names() -> list[str]:
    """The names of the weights that come with the package, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def beside(weights: Path, ending: str) -> Path:
    """The file for results on weights: beside them, or in the current folder for those that come
    with the package.

    Example:
        >>> str(beside(FOLDER / "mdm.safetensors", ".test.json"))
        'mdm.test.json'
    """
    home = Path(weights.name) if weights.parent == FOLDER else weights
    return home.with_suffix(ending)


def find_weights(name_or_path: str | Path) -> Path:
    """The weights file that a user names.

    Args:
        name_or_path: the name of weights that come with the package, such as ``"mdm"``, or the path
            of a file; a name goes before a file of the same name, which ``"./mdm"`` names.

    Raises:
        DescentError: if nothing answers to it; the message lists the names.
    """
    names = weights_names()
    if str(name_or_path) in names:
        return FOLDER / f"{name_or_path}.safetensors"
    path = Path(name_or_path)
    if path.is_file():
        return path
    found = f"{path} is a folder" if path.is_dir() else "there is no such file"
    raise DescentError(
        f"weights {str(name_or_path)!r}: {found}; expected a weights file, or the name of weights "
        f"that come with the package: {', '.join(names) or 'none are there'}"
    )


def terms_of(path: Path) -> str | None:
    """The terms of use in the model card beside a weights file, the row ``| terms | ... |`` of its
    table; ``None`` where there is no card, or no such row.

    Example:
        >>> terms_of(find_weights("mdm"))
        '300-W is for research only (Sagonas et al., 2016): so are these weights'
    """
    card = path.with_suffix(".md")
    if not card.is_file():
        return None
    rows = (line.split("|") for line in card.read_text("utf-8").splitlines())
    return next(
        (row[2].strip() for row in rows if len(row) > 2 and row[1].strip() == "terms"), None
    )
