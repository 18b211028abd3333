"""Landmark schemas as data: read from a small YAML or JSON file, kept in the settings of a
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from ..errors import DescentError
from ..registry import names_code, offered, resolve_object
from ..system.documents import read_document
from ..system.text import suggestion
from .schema import MOST_POINTS, SCHEMAS, LandmarkSchema
from .schema import schema as built_in

SchemaName: TypeAlias = Literal["ibug68", "ibug51", "ibug49", "wflw98", "cofw29", "aflw19"]
"""The names of the built-in markups."""

Schema: TypeAlias = SchemaName | Path | Mapping[str, Any]
"""A markup as a user gives it.

A path may also be the name under which an installed package offers a schema, or ``file.py:NAME``. A
weights file can say text or a mapping, no path: so it never makes anybody read a file.
"""

_ENDINGS = {".yaml", ".yml", ".json"}

KEYS = (
    "name",
    "num_points",
    "mirror_pairs",
    "left_eye",
    "right_eye",
    "outer_eye_corners",
    "edges",
    "subsets",
    "sources",
    "names",
    "normaliser",
)
"""What a file of a schema may hold."""


def find_schema(given: Schema) -> LandmarkSchema:
    """The markup that a name, the path of a file, or the content of such a file means.

    A file holds ``num_points`` and, where they are known, ``name`` (by default that of the file),
    ``mirror_pairs`` of points that change places in a mirrored picture (all others stay),
    ``left_eye``, ``right_eye``, ``outer_eye_corners``, ``edges`` (pairs that a drawing joins),
    ``subsets`` by name and ``sources`` by number of points, see
    :class:`~learned_descent.landmarks.schema.LandmarkSchema`; ``names`` of the points, which may
    then stand for their numbers anywhere; and ``normaliser``, the distance that divides an error: a
    pair of points, or one of :data:`~learned_descent.landmarks.schema.Normaliser`.

    Raises:
        DescentError: if there is no such name or file, or if what is in it contradicts itself.

    Example:
        >>> find_schema("ibug49").num_points
        49
        >>> hinge = find_schema({"name": "hinge", "num_points": 3, "edges": [[0, 1], [1, 2]]})
        >>> hinge.edges, hinge.mirror
        (((0, 1), (1, 2)), None)
        >>> wing = find_schema({"name": "wing", "num_points": 2, "names": ["root", "tip"],
        ...     "normaliser": ["root", "tip"]})
        >>> wing.normaliser, wing.two_points
        ('two_points', (0, 1))
    """
    if isinstance(given, Mapping):
        return schema_from(given)
    if isinstance(given, Path) and (given.exists() or given.suffix.lower() in _ENDINGS):
        name = f"schema {given}"
        content = read_document(given, name)
        if not isinstance(content, Mapping):
            found = type(content).__name__
            raise DescentError(
                f"{name}: expected num_points: NUMBER and what else is known, got {found}"
            )
        return schema_from({"name": given.stem, **content}, name)
    if isinstance(given, Path) and (names_code(str(given)) or str(given) in offered("schema")):
        named: LandmarkSchema = resolve_object(str(given), LandmarkSchema, what="schema")
        return named
    try:
        return built_in(str(given))
    except DescentError as error:
        raise DescentError(f"{error}, or the path of a file such as hinge.yaml") from error


def schema_from(data: Mapping[str, Any], where: str = "schema") -> LandmarkSchema:
    """The markup that a mapping describes, see :func:`find_schema`.

    Args:
        data: what a file holds.
        where: what messages begin with.

    Raises:
        DescentError: if a key is unknown or missing, or its value contradicts another one.
    """
    for key in data:
        if key not in KEYS:
            near = suggestion(str(key), KEYS)
            raise DescentError(f"{where}: {key!r}: expected one of {', '.join(KEYS)}{near}")
    count, name = data.get("num_points"), data.get("name")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MOST_POINTS:
        wanted = f"a number from 1 to {MOST_POINTS:,}"
        raise DescentError(f"{where}: num_points: expected {wanted}, got {count!r}")
    if not isinstance(name, str) or not name:
        raise DescentError(f"{where}: name: expected text, got {name!r}")
    names = _names(_given(data, "names", []), count, where)
    read = _Reader(where, count, names)
    normaliser = _given(data, "normaliser")
    pair = normaliser if isinstance(normaliser, (list, tuple)) else None
    corners = _given(data, "outer_eye_corners")
    pairs = _given(data, "mirror_pairs")
    try:
        return LandmarkSchema(
            name=name,
            num_points=count,
            mirror=None if pairs is None else read.mirror(pairs),
            left_eye=read.points("left_eye", _given(data, "left_eye", [])),
            right_eye=read.points("right_eye", _given(data, "right_eye", [])),
            outer_eye_corners=None if corners is None else read.pair("outer_eye_corners", corners),
            edges=read.pairs("edges", _given(data, "edges", [])),
            subsets=read.subsets(_given(data, "subsets", {})),
            sources=read.sources(_given(data, "sources", {})),
            names=names,
            two_points=None if pair is None else read.pair("normaliser", pair),
            normaliser=normaliser if pair is None else "two_points",
        )
    except DescentError as error:
        raise (
            error if str(error).startswith(where) else DescentError(f"{where}: {error}")
        ) from error


def described_schema(schema: LandmarkSchema) -> SchemaName | dict[str, Any]:
    """A markup as settings keep it: the name of a built-in one, else all that it says, as JSON.

    Example:
        >>> described_schema(built_in("ibug68"))
        'ibug68'
        >>> described_schema(LandmarkSchema("hinge", num_points=3, edges=((0, 1),)))
        {'name': 'hinge', 'num_points': 3, 'edges': [[0, 1]]}
    """
    if SCHEMAS.get(schema.name) == schema:
        return cast(SchemaName, schema.name)
    mirror, corners = schema.mirror, schema.outer_eye_corners
    pairs = [[point, image] for point, image in enumerate(mirror or ()) if point < image]
    known: dict[str, Any] = {
        "name": schema.name,
        "num_points": schema.num_points,
        "mirror_pairs": None if mirror is None else pairs,
        "left_eye": list(schema.left_eye) or None,
        "right_eye": list(schema.right_eye) or None,
        "outer_eye_corners": None if corners is None else list(corners),
        "edges": [list(edge) for edge in schema.edges] or None,
        "subsets": {name: list(points) for name, points in schema.subsets.items()} or None,
        "sources": {str(size): list(points) for size, points in schema.sources.items()} or None,
        "names": list(schema.names) or None,
        "normaliser": list(schema.two_points) if schema.two_points else schema.normaliser,
    }
    return {key: value for key, value in known.items() if value is not None}


@dataclass(frozen=True)
class _Reader:
    """Reads indices below ``count``, and says by name which one is wrong."""

    where: str
    count: int
    names: tuple[str, ...] = ()

    def points(self, key: str, value: Any, below: int | None = None) -> tuple[int, ...]:
        if below is None and isinstance(value, (list, tuple)):
            value = [self.names.index(item) if item in self.names else item for item in value]
        below = self.count if below is None else below
        if not isinstance(value, (list, tuple)):
            raise DescentError(f"{self.where}: {key}: expected a list of points, got {value!r}")
        for number, point in enumerate(value):
            if not isinstance(point, int) or isinstance(point, bool) or not 0 <= point < below:
                names = ", or names" if isinstance(point, str) else ""
                wanted = f"points from 0 to {below - 1}{names}"
                raise DescentError(f"{self.where}: {key}: expected {wanted}, got {point!r}")
            if point in value[:number]:
                raise DescentError(f"{self.where}: {key}: point {point} is there twice")
        return tuple(value)

    def pair(self, key: str, value: Any) -> tuple[int, int]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            wanted = "a pair of points such as [0, 1]"
            raise DescentError(f"{self.where}: {key}: expected {wanted}, got {value!r}")
        first, second = self.points(key, value)
        return first, second

    def pairs(self, key: str, value: Any) -> tuple[tuple[int, int], ...]:
        if not isinstance(value, (list, tuple)):
            wanted = "a list of pairs such as [[0, 1]]"
            raise DescentError(f"{self.where}: {key}: expected {wanted}, got {value!r}")
        found: list[tuple[int, int]] = []
        for item in value:
            pair = self.pair(key, item)
            if pair in found or pair[::-1] in found:
                raise DescentError(f"{self.where}: {key}: the pair {list(pair)} is there twice")
            found.append(pair)
        return tuple(found)

    def mirror(self, value: Any) -> tuple[int, ...]:
        image = list(range(self.count))
        for first, second in self.pairs("mirror_pairs", value):
            for point, other in ((first, second), (second, first)):
                if image[point] != point:
                    raise DescentError(
                        f"{self.where}: mirror_pairs: point {point} is in two pairs, with "
                        f"{image[point]} and with {other}"
                    )
                image[point] = other
        return tuple(image)

    def subsets(self, value: Any) -> dict[str, tuple[int, ...]]:
        found = self._items("subsets", value)
        return {str(name): self.points(f"subsets: {name}", points) for name, points in found}

    def sources(self, value: Any) -> dict[int, tuple[int, ...]]:
        found = {}
        for size, points in self._items("sources", value):
            if not str(size).isdecimal() or not 0 < int(size) <= MOST_POINTS:
                wanted = "a number of points before the colon"
                raise DescentError(f"{self.where}: sources: expected {wanted}, got {size!r}")
            found[int(size)] = self.points(f"sources: {size}", points, int(size))
        return found

    def _items(self, key: str, value: Any) -> list[tuple[Any, Any]]:
        if not isinstance(value, Mapping):
            raise DescentError(f"{self.where}: {key}: expected NAME: [points], got {value!r}")
        return list(value.items())


def _names(value: Any, count: int, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise DescentError(f"{where}: names: expected a list of words, got {value!r}")
    if value and (len(value) != count or len(set(value)) != count):
        raise DescentError(
            f"{where}: names: expected {count} different ones, a name for each point, got "
            f"{len(set(value))}"
        )
    return tuple(value)


def _given(data: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value of a key; where nothing follows it, as if it were not there."""
    value = data.get(key)
    return default if value is None else value
