from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.schema import (
    IBUG49,
    IBUG51,
    IBUG68,
    SCHEMAS,
    WFLW98,
    LandmarkSchema,
    schema,
)

from ..faces.fake300w import neutral_face

IBUG = (IBUG68, IBUG51, IBUG49)

TINY = LandmarkSchema(
    "tiny",
    3,
    mirror=(1, 0, 2),
    left_eye=(0,),
    right_eye=(1,),
    outer_eye_corners=(0, 1),
    edges=((0, 2),),
)


def test_sizes() -> None:
    assert {name: markup.num_points for name, markup in SCHEMAS.items()} == {
        "ibug68": 68,
        "ibug51": 51,
        "ibug49": 49,
        "wflw98": 98,
        "cofw29": 29,
        "aflw19": 19,
    }


@pytest.mark.parametrize("markup", IBUG, ids=lambda markup: markup.name)
def test_mirror_reflects_a_symmetric_face(markup: LandmarkSchema) -> None:
    face = neutral_face()[list(markup.within(68))]
    reflected = face[list(markup.mirror)] * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(reflected, face, atol=1e-6, rtol=0)


@pytest.mark.parametrize("markup", IBUG, ids=lambda markup: markup.name)
def test_eyes_lie_where_a_face_has_them(markup: LandmarkSchema) -> None:
    face = neutral_face()[list(markup.within(68))]
    left, right = face[list(markup.left_eye)].mean(0), face[list(markup.right_eye)].mean(0)
    torch.testing.assert_close(
        torch.stack([left, right]), torch.tensor([[-0.47, 0.0], [0.47, 0.0]]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        face[list(markup.outer_eye_corners), 0], torch.tensor([-0.67, 0.67]), atol=1e-6, rtol=0
    )
    assert len(markup.left_eye) == len(markup.right_eye) == 6


def test_subsets_of_the_68_points() -> None:
    assert IBUG68.indices("51") == tuple(range(17, 68))
    assert set(IBUG68.indices("51")) - set(IBUG68.indices("49")) == {60, 64}
    assert IBUG68.indices() == tuple(range(68))


def test_derived_markups_are_the_same_landmarks_renumbered() -> None:
    assert IBUG51.within(68) == IBUG68.indices("51")
    assert IBUG49.within(68) == IBUG68.indices("49")
    assert IBUG49.within(51) == IBUG51.indices("49")
    assert IBUG49.within(49) == tuple(range(49))
    for markup in (IBUG51, IBUG49):
        old = markup.within(68)
        edges = {(old[a], old[b]) for a, b in markup.edges}
        assert edges == {edge for edge in IBUG68.edges if set(edge) <= set(old)}
        assert markup.outer_eye_corners == (old.index(36), old.index(45))


def test_schemas_are_values() -> None:
    assert schema("ibug51") is IBUG51
    assert replace(IBUG68) == IBUG68
    assert hash(replace(IBUG68)) == hash(IBUG68)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(
        DescentError,
        match=r"no landmark schema is called 'wflw97'; expected one of: ibug68, ibug51, ibug49",
    ):
        schema("wflw97")
    with pytest.raises(
        DescentError,
        match=r"ibug68 has no subset '17'; expected None \(all points\) or one of: '51', '49'",
    ):
        IBUG68.indices("17")
    with pytest.raises(DescentError, match=r"tiny has no subset '2'.*: none"):
        TINY.indices("2")
    with pytest.raises(DescentError, match="29 points, but ibug49 is read from 49 or 51 or"):
        IBUG49.within(29)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_points": 0, "mirror": ()}, "num_points must be positive and at most 10,000, got 0"),
        ({"mirror": (1, 0)}, "mirror must hold every index below 3 once"),
        ({"mirror": (1, 0, 0)}, "mirror must hold every index below 3 once"),
        ({"mirror": (1, 2, 0)}, "mirror must be its own inverse"),
        ({"left_eye": (3,)}, "must be indices below 3"),
        ({"edges": ((0, 3),)}, "must be indices below 3"),
        (
            {"left_eye": (), "right_eye": ()},
            "outer_eye_corners must be a point of left_eye and one of right_eye",
        ),
        ({"left_eye": ()}, "left_eye and right_eye must both be given, or neither"),
        ({"right_eye": (0,), "outer_eye_corners": None}, "left_eye and right_eye must be disjoint"),
        ({"right_eye": (2,), "outer_eye_corners": None}, "mirror must carry left_eye to right_eye"),
        (
            {"outer_eye_corners": (1, 0)},
            "outer_eye_corners must be a point of left_eye and one of right_eye",
        ),
        (
            {
                "num_points": 4,
                "mirror": (1, 0, 3, 2),
                "left_eye": (0, 2),
                "right_eye": (1, 3),
                "outer_eye_corners": (0, 3),
            },
            "outer_eye_corners must be mirror images of each other",
        ),
        ({"subsets": {"a": (0, 0)}}, "subset 'a' must hold distinct indices"),
        ({"subsets": {"a": ()}}, "subset 'a' must hold distinct indices"),
        ({"subsets": {"a": (3,)}}, "subset 'a' must hold distinct indices"),
        ({"sources": {5: (0, 1)}}, r"sources\[5\] must hold 3 distinct indices below 5"),
        ({"sources": {5: (0, 1, 5)}}, r"sources\[5\] must hold 3 distinct indices below 5"),
    ],
)
def test_contradictory_markups_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DescentError, match=f"LandmarkSchema 'tiny': .*{message}"):
        replace(TINY, **change)


def test_a_subset_without_an_eye_is_no_markup() -> None:
    markup = replace(TINY, subsets={"nose": (2,), "eyes": (1, 0)})
    with pytest.raises(DescentError, match="subset 'nose' must hold both eyes and be symmetric"):
        markup.subset("nose", name="nose")
    assert markup.subset("eyes", name="eyes").left_eye == (1,)


@pytest.mark.parametrize("markup", SCHEMAS.values(), ids=lambda markup: markup.name)
def test_the_mirror_image_of_a_markup_is_itself(markup: LandmarkSchema) -> None:
    """A wrong pair, or a wrong edge, shows here."""
    mirror = markup.mirror
    assert mirror is not None
    edges = {frozenset(edge) for edge in markup.edges}
    assert {frozenset((mirror[a], mirror[b])) for a, b in markup.edges} == edges
    for subset in markup.subsets.values():
        assert {mirror[point] for point in subset} == {*subset}


def test_the_points_of_ibug_among_those_of_wflw_keep_their_mirror_images() -> None:
    places = IBUG68.sources[98]
    assert [WFLW98.mirror[point] for point in places] == [places[point] for point in IBUG68.mirror]
    assert [places[corner] for corner in IBUG68.outer_eye_corners] == [60, 72]
    assert WFLW98.holding(68) == places
    assert WFLW98.holding(50) == ()
    assert IBUG51.sources[98] == places[17:]
