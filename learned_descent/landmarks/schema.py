"""What is special about a markup: the only place that knows how many landmarks a face has, and which is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import DescentError


@dataclass(frozen=True)
class LandmarkSchema:
    """A markup: the number of its landmarks and the meaning of their indices, which count from 0.

    Left and right are those of the image: ``left_eye`` is the eye with the smaller column in a frontal picture.

    Args:
        name: what messages and settings call it.
        num_points: the number ``L`` of landmarks.
        mirror: the landmark that takes the place of landmark ``i`` in the mirrored picture, for every ``i``.
        left_eye: the outline of the left eye; the mean of these points is the pupil.
        right_eye: the outline of the right eye.
        outer_eye_corners: the outer corner of the left eye and that of the right eye.
        edges: pairs of landmarks that a drawing joins by a line.
        subsets: landmarks that errors are reported for separately, by name.
        sources: for each number of points that a file of another markup may hold, which of them are the landmarks of
            this one.

    Raises:
        DescentError: if the indices contradict one another.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces in-the-wild challenge: database
        and results. Image and Vision Computing 47, 2016.

    Example:
        >>> inner = schema("ibug51")
        >>> inner.num_points, inner.outer_eye_corners, inner.mirror[:3]
        (51, (19, 28), (9, 8, 7))
    """

    name: str
    num_points: int
    mirror: tuple[int, ...]
    left_eye: tuple[int, ...]
    right_eye: tuple[int, ...]
    outer_eye_corners: tuple[int, int]
    edges: tuple[tuple[int, int], ...] = ()
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    sources: Mapping[int, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        every = set(range(self.num_points))
        left, right = set(self.left_eye), set(self.right_eye)
        named = left | right | set(self.outer_eye_corners) | {point for edge in self.edges for point in edge}
        self._require(bool(every), f"num_points must be positive, got {self.num_points}")
        self._require(sorted(self.mirror) == sorted(every), f"mirror must hold every index below {self.num_points} once")
        self._require(
            all(self.mirror[image] == point for point, image in enumerate(self.mirror)),
            "mirror must be its own inverse: mirror[mirror[i]] = i",
        )
        self._require(named <= every, f"eyes, eye corners and edges must be indices below {self.num_points}")
        self._require(bool(left) and not left & right, "left_eye and right_eye must be disjoint and not empty")
        self._require({self.mirror[point] for point in left} == right, "mirror must carry left_eye to right_eye")
        corners = self.outer_eye_corners
        self._require(
            corners[0] in left and self.mirror[corners[0]] == corners[1],
            "outer_eye_corners must be a point of left_eye and its mirror image",
        )
        for name, subset in self.subsets.items():
            valid = bool(subset) and len(set(subset)) == len(subset) and set(subset) <= every
            self._require(valid, f"subset {name!r} must hold distinct indices below {self.num_points}")
        for size, source in self.sources.items():
            self._require(
                len(source) == self.num_points == len(set(source)) and all(0 <= point < size for point in source),
                f"sources[{size}] must hold {self.num_points} distinct indices below {size}",
            )

    def subset(self, subset: str, *, name: str) -> LandmarkSchema:
        """The markup of the landmarks of one of the ``subsets``, renumbered from 0.

        Subsets and edges that leave it are dropped; files of this markup become a source of the new one.

        Args:
            subset: the name of the subset; it must contain the eyes and be symmetric.
            name: what the new markup is called.

        Raises:
            DescentError: if there is no such subset, or if an eye or a mirror image is not in it.
        """
        kept = self.indices(subset)
        new = {point: index for index, point in enumerate(kept)}
        needed = {self.mirror[point] for point in kept}.union(self.left_eye, self.right_eye)
        self._require(needed <= set(kept), f"subset {subset!r} must hold both eyes and be symmetric to be a markup of its own")

        def renumber(points: Sequence[int]) -> tuple[int, ...]:
            return tuple(new[point] for point in points)

        return LandmarkSchema(
            name=name,
            num_points=len(kept),
            mirror=renumber([self.mirror[point] for point in kept]),
            left_eye=renumber(self.left_eye),
            right_eye=renumber(self.right_eye),
            outer_eye_corners=(new[self.outer_eye_corners[0]], new[self.outer_eye_corners[1]]),
            edges=tuple((new[a], new[b]) for a, b in self.edges if a in new and b in new),
            subsets={key: renumber(points) for key, points in self.subsets.items() if set(points) < set(kept)},
            sources={
                self.num_points: kept,
                **{size: tuple(points[point] for point in kept) for size, points in self.sources.items()},
            },
        )

    def indices(self, subset: str | None = None) -> tuple[int, ...]:
        """The landmarks of a subset by name; all of them without a name.

        Raises:
            DescentError: if there is no such subset.
        """
        if subset is None:
            return tuple(range(self.num_points))
        if subset not in self.subsets:
            known = ", ".join(map(repr, self.subsets)) or "none"
            raise DescentError(f"subset: {self.name} has no subset {subset!r}; expected None (all points) or one of: {known}")
        return self.subsets[subset]

    def within(self, count: int) -> tuple[int, ...]:
        """Which of the ``count`` points of a file are the landmarks of this markup.

        Raises:
            DescentError: if the markup cannot be read from that many points.
        """
        if count == self.num_points:
            return self.indices()
        if count not in self.sources:
            expected = " or ".join(map(str, sorted({self.num_points, *self.sources})))
            raise DescentError(f"{count} points, but {self.name} is read from {expected}")
        return self.sources[count]

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise DescentError(f"LandmarkSchema {self.name!r}: {message}")


def _path(*points: int, closed: bool = False) -> tuple[tuple[int, int], ...]:
    """The edges of a line through the points, back to the first one if it is closed."""
    return tuple(pairwise(points)) + (((points[-1], points[0]),) if closed else ())


_INNER = tuple(range(17, 68))

IBUG68 = LandmarkSchema(
    name="ibug68",
    num_points=68,
    mirror=(
        *reversed(range(17)),  # jaw
        *reversed(range(17, 27)),  # brows
        *range(27, 31),  # ridge of the nose
        *reversed(range(31, 36)),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(*reversed(range(48, 55)), *reversed(range(55, 60))),  # outer lips
        *(*reversed(range(60, 65)), *reversed(range(65, 68))),  # inner lips
    ),
    left_eye=tuple(range(36, 42)),
    right_eye=tuple(range(42, 48)),
    outer_eye_corners=(36, 45),
    edges=(
        *_path(*range(17)),
        *_path(*range(17, 22)),
        *_path(*range(22, 27)),
        *_path(*range(27, 31)),
        *_path(*range(31, 36)),
        *_path(*range(36, 42), closed=True),
        *_path(*range(42, 48), closed=True),
        *_path(*range(48, 60), closed=True),
        *_path(*range(60, 68), closed=True),
    ),
    subsets={"51": _INNER, "49": tuple(point for point in _INNER if point not in (60, 64))},
)
"""The 68 points of iBUG, as in 300-W: jaw, brows, nose, eyes, lips."""

IBUG51 = IBUG68.subset("51", name="ibug51")
"""The 68 points without the jaw."""

IBUG49 = IBUG51.subset("49", name="ibug49")
"""The 51 points without the inner corners of the mouth."""

SCHEMAS: Mapping[str, LandmarkSchema] = {markup.name: markup for markup in (IBUG68, IBUG51, IBUG49)}
"""The markups that come with the library, by name."""


def schema(name: str) -> LandmarkSchema:
    """The markup called ``name``.

    Raises:
        DescentError: if there is none of this name.

    Example:
        >>> schema("ibug68").subsets.keys()
        dict_keys(['51', '49'])
    """
    if name not in SCHEMAS:
        raise DescentError(f"schema: no landmark schema is called {name!r}; expected one of: {', '.join(SCHEMAS)}")
    return SCHEMAS[name]
