"""Landmark schemas, also called markups: how many landmarks there are, and which is which; known
nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

from ..errors import DescentError

MOST_POINTS = 10_000
"""What no markup has: a file that asks for more asks for memory."""


Normaliser: TypeAlias = Literal[
    "inter_ocular", "inter_pupil", "two_points", "box", "box_diagonal", "centroid_size"
]
"""The distance that an error is divided by, see
:func:`~learned_descent.landmarks.metrics.normalising_distance`."""


@dataclass(frozen=True)
class LandmarkSchema:
    """A markup: the number of its landmarks and the meaning of their indices, which count from 0.

    Left and right are those of the image: ``left_eye`` is the eye with the smaller column in a
    frontal picture.

    Args:
        name: what messages and settings call it.
        num_points: the number ``L`` of landmarks.
        mirror: the landmark that takes the place of landmark ``i`` in the mirrored picture, for
            every ``i``; None where a mirrored picture shows another kind of thing, or nobody knows:
            nothing is mirrored then.
        left_eye: the outline of the left eye; the mean of these points is the pupil. Empty where
            there are no eyes.
        right_eye: the outline of the right eye.
        outer_eye_corners: the outer corner of the left eye and that of the right eye, or None.
        edges: pairs of landmarks that a drawing joins by a line.
        subsets: landmarks that errors are reported for separately, by name.
        sources: for each number of points that a file of another markup may hold, which of them are
            the landmarks of this one.
        names: what the landmarks are called; empty where they have no names.
        two_points: the two landmarks whose distance may divide an error, or None.
        normaliser: the distance that errors are divided by unless another one is asked for.

    Raises:
        DescentError: if the indices contradict one another.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 47, 2016.

    Example:
        >>> inner = schema("ibug51")
        >>> inner.num_points, inner.outer_eye_corners, inner.mirror[:3]
        (51, (19, 28), (9, 8, 7))
    """

    name: str
    num_points: int
    mirror: tuple[int, ...] | None = None
    left_eye: tuple[int, ...] = ()
    right_eye: tuple[int, ...] = ()
    outer_eye_corners: tuple[int, int] | None = None
    edges: tuple[tuple[int, int], ...] = ()
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    sources: Mapping[int, tuple[int, ...]] = field(default_factory=dict, hash=False)
    names: tuple[str, ...] = ()
    two_points: tuple[int, int] | None = None
    normaliser: Normaliser | None = None

    def __post_init__(self) -> None:
        most, count = MOST_POINTS, self.num_points
        self._require(
            0 < count <= most, f"num_points must be positive and at most {most:,}, got {count}"
        )
        every = set(range(count))
        left, right = set(self.left_eye), set(self.right_eye)
        corners = self.outer_eye_corners
        named = left | right | set(corners or ()) | {point for edge in self.edges for point in edge}
        self._require(
            named | set(self.two_points or ()) <= every,
            f"eyes, eye corners, edges and two_points must be indices below {count}",
        )
        self._require(
            not self.names or len(set(self.names)) == len(self.names) == count,
            f"names must be {count} different ones, got {len(set(self.names))}",
        )
        self._require(
            self.two_points is None or self.two_points[0] != self.two_points[1],
            "two_points must be different",
        )
        self._require(
            self.normaliser in (None, *get_args(Normaliser)),
            f"normaliser must be one of {', '.join(get_args(Normaliser))}, got {self.normaliser!r}",
        )
        self._require(
            bool(left) == bool(right), "left_eye and right_eye must both be given, or neither"
        )
        self._require(not left & right, "left_eye and right_eye must be disjoint")
        self._require(
            corners is None or (corners[0] in left and corners[1] in right),
            "outer_eye_corners must be a point of left_eye and one of right_eye",
        )
        self._check_mirror(every, left, right)
        for name, subset in self.subsets.items():
            valid = bool(subset) and len(set(subset)) == len(subset) and set(subset) <= every
            self._require(
                valid, f"subset {name!r} must hold distinct indices below {self.num_points}"
            )
        for size, source in self.sources.items():
            self._require(
                len(source) == self.num_points == len(set(source))
                and all(0 <= point < size for point in source),
                f"sources[{size}] must hold {self.num_points} distinct indices below {size}",
            )

    def _check_mirror(self, every: set[int], left: set[int], right: set[int]) -> None:
        """Refuses mirror images that do not agree with one another, or with the eyes."""
        if self.mirror is None:
            return
        mirror, corners = self.mirror, self.outer_eye_corners
        self._require(
            sorted(mirror) == sorted(every),
            f"mirror must hold every index below {self.num_points} once",
        )
        self._require(
            all(mirror[image] == point for point, image in enumerate(mirror)),
            "mirror must be its own inverse: mirror[mirror[i]] = i",
        )
        self._require(
            {mirror[point] for point in left} == right, "mirror must carry left_eye to right_eye"
        )
        self._require(
            corners is None or mirror[corners[0]] == corners[1],
            "outer_eye_corners must be mirror images of each other",
        )

    @property
    def opposites(self) -> tuple[int, ...]:
        """The ``mirror``; every landmark itself where there is none."""
        return self.indices() if self.mirror is None else self.mirror

    def subset(self, subset: str, *, name: str) -> LandmarkSchema:
        """The markup of the landmarks of one of the ``subsets``, renumbered from 0.

        Subsets and edges that leave it are dropped; files of this markup become a source of the new
        one.

        Args:
            subset: the name of the subset; it must contain the eyes and be symmetric.
            name: what the new markup is called.

        Raises:
            DescentError: if there is no such subset, or if an eye or a mirror image is not in it.
        """
        kept = self.indices(subset)
        new = {point: index for index, point in enumerate(kept)}
        opposites, corners = self.opposites, self.outer_eye_corners
        needed = {opposites[point] for point in kept}.union(self.left_eye, self.right_eye)
        self._require(
            needed <= set(kept),
            f"subset {subset!r} must hold both eyes and be symmetric to be a markup of its own",
        )

        def renumber(points: Sequence[int]) -> tuple[int, ...]:
            return tuple(new[point] for point in points)

        return LandmarkSchema(
            name=name,
            num_points=len(kept),
            mirror=None if self.mirror is None else renumber([opposites[point] for point in kept]),
            left_eye=renumber(self.left_eye),
            right_eye=renumber(self.right_eye),
            outer_eye_corners=None if corners is None else (new[corners[0]], new[corners[1]]),
            names=tuple(self.names[point] for point in kept) if self.names else (),
            normaliser=None if self.normaliser == "two_points" else self.normaliser,
            edges=tuple((new[a], new[b]) for a, b in self.edges if a in new and b in new),
            subsets={
                key: renumber(points)
                for key, points in self.subsets.items()
                if set(points) < set(kept)
            },
            sources={
                self.num_points: kept,
                **{
                    size: tuple(points[point] for point in kept)
                    for size, points in self.sources.items()
                },
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
            raise DescentError(
                f"subset: {self.name} has no subset {subset!r}; expected None (all points) or one "
                f"of: {known}"
            )
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

    def holding(self, count: int) -> tuple[int, ...]:
        """Which landmarks of this markup the ``count`` points of a smaller built-in one are; none
        where that is not known.

        Example:
            >>> WFLW98.holding(68)[:3]
            (0, 2, 4)
        """
        for other in SCHEMAS.values():
            if other.num_points == count and self.num_points in other.sources:
                return other.sources[self.num_points]
        return ()

    def among(self, other: LandmarkSchema) -> tuple[int, ...]:
        """Which landmarks of another markup are those of this one.

        Raises:
            DescentError: if it is not known, from the ``sources``.

        Example:
            >>> IBUG51.among(IBUG68)[:3]
            (17, 18, 19)
        """
        if self == other:
            return self.indices()
        if other.num_points not in self.sources:
            raise DescentError(
                f"schema: which of the {other.num_points} points of {other.name} are those of "
                f"{self.name} is not known: say it as sources[{other.num_points}] of {self.name}, "
                "or choose another schema"
            )
        return self.sources[other.num_points]

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise DescentError(f"LandmarkSchema {self.name!r}: {message}")


def _path(*points: int, closed: bool = False) -> tuple[tuple[int, int], ...]:
    """The edges of a line through the points, back to the first one if it is closed."""
    return tuple(pairwise(points)) + (((points[-1], points[0]),) if closed else ())


def _swapped(count: int, *pairs: Sequence[int]) -> tuple[int, ...]:
    """The mirror image of each of ``count`` points, of which those of a pair change places."""
    image = list(range(count))
    for one, other in pairs:
        image[one], image[other] = other, one
    return tuple(image)


_INNER = tuple(range(17, 68))

_WFLW_AS_IBUG = (
    *range(0, 33, 2),  # jaw
    *(*range(33, 38), *range(42, 47)),  # the upper edges of the brows
    *range(51, 60),  # nose
    *(60, 61, 63, 64, 65, 67),  # eyes
    *(68, 69, 71, 72, 73, 75),
    *range(76, 96),  # lips
)
"""Which of the 98 points of WFLW are the 68 of iBUG."""

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
    sources={98: _WFLW_AS_IBUG},
)
"""The 68 points of iBUG, as in 300-W: jaw, brows, nose, eyes, lips."""

IBUG51 = IBUG68.subset("51", name="ibug51")
"""The 68 points without the jaw."""

IBUG49 = IBUG51.subset("49", name="ibug49")
"""The 51 points without the inner corners of the mouth."""

WFLW98 = LandmarkSchema(
    name="wflw98",
    num_points=98,
    mirror=(
        *reversed(range(33)),  # jaw
        *(46, 45, 44, 43, 42, 50, 49, 48, 47),  # brows
        *(37, 36, 35, 34, 33, 41, 40, 39, 38),
        *range(51, 55),  # ridge of the nose
        *reversed(range(55, 60)),  # nostrils
        *(72, 71, 70, 69, 68, 75, 74, 73),  # eyes
        *(64, 63, 62, 61, 60, 67, 66, 65),
        *(*reversed(range(76, 83)), *reversed(range(83, 88))),  # outer lips
        *(*reversed(range(88, 93)), *reversed(range(93, 96))),  # inner lips
        *(97, 96),  # pupils
    ),
    left_eye=tuple(range(60, 68)),
    right_eye=tuple(range(68, 76)),
    outer_eye_corners=(60, 72),
    edges=(
        *_path(*range(33)),
        *_path(*range(33, 42), closed=True),
        *_path(*range(42, 51), closed=True),
        *_path(*range(51, 55)),
        *_path(*range(55, 60)),
        *_path(*range(60, 68), closed=True),
        *_path(*range(68, 76), closed=True),
        *_path(*range(76, 88), closed=True),
        *_path(*range(88, 96), closed=True),
    ),
    subsets={"68": _WFLW_AS_IBUG},
)
"""The 98 points of WFLW: jaw, brows, nose, eyes, lips, pupils (Wu et al., CVPR 2018)."""

COFW29 = LandmarkSchema(
    name="cofw29",
    num_points=29,
    mirror=_swapped(
        29,
        *((0, 1), (2, 3), (4, 6), (5, 7)),  # brows: outer and inner ends, upper and lower edge
        *((8, 9), (10, 11), (12, 14), (13, 15), (16, 17)),  # eyes: corners, lids, pupils
        *((18, 19), (22, 23)),  # nostrils, corners of the mouth
    ),
    left_eye=(8, 10, 12, 13),
    right_eye=(9, 11, 14, 15),
    outer_eye_corners=(8, 9),
    edges=(
        *_path(0, 4, 2, 5, closed=True),
        *_path(1, 6, 3, 7, closed=True),
        *_path(8, 12, 10, 13, closed=True),
        *_path(9, 14, 11, 15, closed=True),
        *_path(18, 21, 19, 20, closed=True),
        *_path(22, 24, 23, 27, closed=True),
        *_path(22, 25, 23, 26, closed=True),
    ),
)
"""The 29 points of COFW: brows, eyes with their pupils, nose, lips, chin (Burgos-Artizzu et al.,
ICCV 2013)."""

AFLW19 = LandmarkSchema(
    name="aflw19",
    num_points=19,
    mirror=_swapped(19, (0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17)),
    left_eye=(6, 7, 8),
    right_eye=(9, 10, 11),
    outer_eye_corners=(6, 11),
    edges=(
        *_path(0, 1, 2),
        *_path(3, 4, 5),
        *_path(6, 7, 8),
        *_path(9, 10, 11),
        *_path(12, 13, 14),
        *_path(15, 16, 17),
    ),
    normaliser="box",
)
"""The 19 points of AFLW: brows, eyes, nose, mouth, chin (Zhu et al., CVPR 2016); its errors are
divided by the side of the face's box."""

SCHEMAS: Mapping[str, LandmarkSchema] = {
    markup.name: markup for markup in (IBUG68, IBUG51, IBUG49, WFLW98, COFW29, AFLW19)
}
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
        raise DescentError(
            f"schema: no landmark schema is called {name!r}; expected one of: {', '.join(SCHEMAS)}"
        )
    return SCHEMAS[name]
