from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from learned_descent import DescentError
from learned_descent.checkpoint.model import stored_problem
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.landmarks.augmentation import Augmentation
from learned_descent.landmarks.metrics import normalisers, usual_normaliser
from learned_descent.landmarks.problem import Landmarks
from learned_descent.landmarks.schema import IBUG49, IBUG68, SCHEMAS, LandmarkSchema
from learned_descent.landmarks.schema_file import SchemaName, described_schema, find_schema

HINGE = Path(__file__).parents[2] / "examples" / "hinge.yaml"

FULL: dict[str, Any] = {
    "name": "owl",
    "num_points": 5,
    "mirror_pairs": [[0, 1], [3, 4]],
    "left_eye": [0],
    "right_eye": [1],
    "outer_eye_corners": [0, 1],
    "edges": [[0, 2], [2, 1]],
    "subsets": {"feet": [3, 4]},
    "sources": {"7": [0, 1, 2, 5, 6]},
    "names": ["left", "right", "beak", "claw", "talon"],
    "normaliser": [2, 3],
}


def test_names_are_those_of_the_built_in_markups() -> None:
    assert SchemaName.__args__ == tuple(SCHEMAS)
    assert find_schema("ibug49") is IBUG49
    assert find_schema(Path("ibug49")) is IBUG49, "as the command line gives it"


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".json"])
def test_a_file_says_all_that_a_schema_holds(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"any{ending}"
    file.write_text(json.dumps(FULL, indent=2))
    owl = find_schema(file)
    assert owl == LandmarkSchema(
        "owl",
        5,
        mirror=(1, 0, 2, 4, 3),
        left_eye=(0,),
        right_eye=(1,),
        outer_eye_corners=(0, 1),
        edges=((0, 2), (2, 1)),
        subsets={"feet": (3, 4)},
        sources={7: (0, 1, 2, 5, 6)},
        names=("left", "right", "beak", "claw", "talon"),
        two_points=(2, 3),
        normaliser="two_points",
    )
    assert json.loads(json.dumps(described_schema(owl))) == FULL
    assert find_schema(described_schema(owl)) == owl
    assert normalisers(owl)[:4] == ("inter_ocular", "inter_pupil", "two_points", "box")
    assert usual_normaliser(owl) == "two_points"


def test_the_number_of_points_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "dots.yaml"
    file.write_text("num_points: 4\nedges:\n")
    dots = find_schema(file)
    assert dots == LandmarkSchema("dots", 4)
    assert described_schema(dots) == {"name": "dots", "num_points": 4}
    assert dots.opposites == (0, 1, 2, 3)
    assert dots.mirror is None
    assert normalisers(dots) == ("box", "box_diagonal", "centroid_size")


def test_names_stand_for_the_numbers_of_points() -> None:
    wing = find_schema(
        {
            "name": "wing",
            "num_points": 3,
            "names": ["root", "tip", "vein"],
            "mirror_pairs": [["root", "tip"]],
            "edges": [["root", 2]],
            "subsets": {"ends": ["root", "tip"]},
            "normaliser": "box_diagonal",
        }
    )
    assert wing.mirror == (1, 0, 2)
    assert wing.edges == ((0, 2),)
    assert wing.subsets == {"ends": (0, 1)}
    assert usual_normaliser(wing) == "box_diagonal"


def test_no_pairs_at_all_is_not_the_same_as_none_known() -> None:
    every = find_schema({"name": "pole", "num_points": 2, "mirror_pairs": []})
    assert every.mirror == (0, 1)
    assert described_schema(every) == {"name": "pole", "num_points": 2, "mirror_pairs": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a"]}, "names: expected 5 different ones"),
        ({"names": "abcde"}, "names: expected a list of words"),
        ({"normaliser": [1, 1]}, "normaliser: point 1 is there twice"),
        (
            {"normaliser": "width"},
            "LandmarkSchema 'owl': normaliser must be one of .*got 'width'",
        ),
        ({"edges": [["left", "wing"]]}, "edges: expected points from 0 to 4, or names, got 'wing'"),
        ({"eyes": [0]}, "'eyes': expected one of name, num_points, mirror_pairs, left_eye"),
        ({"num_points": None}, "num_points: expected a number from 1 to 10,000, got None"),
        ({"num_points": "5"}, "num_points: expected a number from 1 to 10,000, got '5'"),
        ({"num_points": True}, "num_points: expected a number from 1 to 10,000, got True"),
        ({"num_points": 10**8}, "num_points: expected a number from 1 to 10,000, got 100000000"),
        ({"name": ["owl"]}, r"name: expected text, got \['owl'\]"),
        ({"mirror_pairs": [[0, 5]]}, "mirror_pairs: expected points from 0 to 4, got 5"),
        ({"mirror_pairs": [[0, -1]]}, "mirror_pairs: expected points from 0 to 4, got -1"),
        ({"mirror_pairs": [[0, 1], [1, 0]]}, r"mirror_pairs: the pair \[1, 0\] is there twice"),
        (
            {"mirror_pairs": [[0, 1], [1, 2]]},
            "mirror_pairs: point 1 is in two pairs, with 0 and with 2",
        ),
        ({"mirror_pairs": [[0, 0]]}, "mirror_pairs: point 0 is there twice"),
        (
            {"mirror_pairs": [[0, 1, 2]]},
            r"mirror_pairs: expected a pair of points such as \[0, 1\], got \[0, 1, 2\]",
        ),
        (
            {"mirror_pairs": [0, 1]},
            r"mirror_pairs: expected a pair of points such as \[0, 1\], got 0",
        ),
        (
            {"mirror_pairs": 3},
            r"mirror_pairs: expected a list of pairs such as \[\[0, 1\]\], got 3",
        ),
        (
            {"mirror_pairs": [[0, 3], [1, 4]]},
            "LandmarkSchema 'owl': mirror must carry left_eye to right_eye",
        ),
        ({"edges": [[0, 2.5]]}, "edges: expected points from 0 to 4, got 2.5"),
        ({"edges": [[0, 1], [0, 1]]}, r"edges: the pair \[0, 1\] is there twice"),
        ({"left_eye": 0}, "left_eye: expected a list of points, got 0"),
        ({"left_eye": [0, 0]}, "left_eye: point 0 is there twice"),
        (
            {"left_eye": []},
            "LandmarkSchema 'owl': left_eye and right_eye must both be given, or neither",
        ),
        (
            {"outer_eye_corners": [0, 3]},
            (
                "LandmarkSchema 'owl': outer_eye_corners must be a point of left_eye and one of "
                "right_eye"
            ),
        ),
        (
            {"outer_eye_corners": [0]},
            r"outer_eye_corners: expected a pair of points such as \[0, 1\], got \[0\]",
        ),
        ({"subsets": [[3, 4]]}, r"subsets: expected NAME: \[points\], got \[\[3, 4\]\]"),
        ({"subsets": {"feet": [3, 9]}}, "subsets: feet: expected points from 0 to 4, got 9"),
        (
            {"sources": {"many": [0]}},
            "sources: expected a number of points before the colon, got 'many'",
        ),
        ({"sources": {7: [0, 1, 2, 5, 7]}}, "sources: 7: expected points from 0 to 6, got 7"),
        (
            {"sources": {7: [0]}},
            r"LandmarkSchema 'owl': sources\[7\] must hold 5 distinct indices below 7",
        ),
    ],
)
def test_each_mistake_in_a_file_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "owl.yaml"
    file.write_text(json.dumps({**FULL, **change}))
    with pytest.raises(DescentError, match=f"schema .*owl.yaml: {message}"):
        find_schema(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected num_points: NUMBER and what else is known, got NoneType"),
        ("12", "expected num_points: NUMBER and what else is known, got int"),
        ("num_points: [", "expected a YAML file"),
        ("num_points: !!python/object/apply:os.getcwd []", "the tag .* is not read"),
        ("a: &a [1]\nb: *a", "the alias"),
        ("edges: " + "[" * 30 + "]" * 30, "at most 20 levels"),
        ("edges: [" + "[0, 1]," * 4000 + "]", "10,000 entries"),
        ("#" * 2**19, "at most 256 kB"),
    ],
)
def test_a_file_is_data_of_bounded_size(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(DescentError, match=f"schema .*bad.yaml: .*{message}"):
        find_schema(file)


def test_what_is_no_name_and_no_file() -> None:
    with pytest.raises(
        DescentError, match=r"no landmark schema is called 'wflw97'.* or the path of a file"
    ):
        find_schema(Path("wflw97"))
    with pytest.raises(
        DescentError, match=r"schema missing\.yaml: expected a YAML file: .*No such file"
    ):
        find_schema(Path("missing.yaml"))


def test_text_in_a_weights_file_reads_no_file() -> None:
    with pytest.raises(DescentError, match="no landmark schema is called"):
        find_schema(str(HINGE))  # type: ignore[arg-type]  # JSON holds no path, only text


def hinge(**settings: Any) -> Landmarks:
    return FaceAlignment(
        schema=HINGE, **{"normaliser": "box", "augmentation": Augmentation(), **settings}
    )


def test_settings_need_no_file_any_more() -> None:
    problem = hinge()
    assert not problem.mirror, "nobody knows what a mirrored one looks like"
    kept = json.loads(json.dumps(problem.settings()["schema"]))
    assert kept["name"] == "hinge"
    assert (
        FaceAlignment(schema=kept, normaliser="box", augmentation=Augmentation()).schema
        == problem.schema
    )
    assert FaceAlignment().settings()["schema"] == "ibug68"


def test_what_a_schema_does_not_know_is_refused_with_a_word() -> None:
    for name in ("inter_ocular", "inter_pupil"):
        with pytest.raises(
            DescentError,
            match=f"'{name}' needs the .*eye.* of the schema, and 'hinge' has none: expected 'box'",
        ):
            hinge(normaliser=name)
    with pytest.raises(
        DescentError, match=r"augmentation\.mirror: the schema 'hinge' says no mirror_pairs"
    ):
        hinge(augmentation=Augmentation(mirror=0.5))
    with pytest.raises(
        DescentError, match=r"augmentation\.turn: .* of hinge is not known: .*; or set it to 0"
    ):
        hinge(augmentation=Augmentation(turn=15.0))
    with pytest.raises(
        DescentError, match="which of the 68 points of ibug68 are those of hinge is not known"
    ):
        SyntheticFaces(schema=HINGE, normaliser="box")


def test_68_other_points_are_not_those_of_a_head() -> None:
    other = LandmarkSchema("other", 68)
    with pytest.raises(
        DescentError, match="which of the 68 points of ibug68 are those of other is not known"
    ):
        other.among(IBUG68)
    faces = SyntheticFaces(
        1,
        1,
        schema={"name": "chin", "num_points": 3, "sources": {"68": [7, 8, 9]}},
        normaliser="box",
        crop=64,
        box_side=38.0,
    )
    assert faces.data("test")["points"].shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (str(HINGE), "no landmark schema is called"),
        ({"name": "huge", "num_points": 10**7}, "num_points: expected a number from 1 to 10,000"),
        (
            {"name": "hinge", "num_points": 2, "edges": [[0, 5]]},
            "edges: expected points from 0 to 1, got 5",
        ),
        ([1, 2], "schema"),
    ],
)
def test_a_weights_file_cannot_ask_for_a_file_nor_for_memory(schema: object, message: str) -> None:
    settings = {"schema": schema, "normaliser": "box", "augmentation": {"turn": 0.0}}
    with pytest.raises(DescentError, match=rf"any\.safetensors: .*{message}"):
        stored_problem("any.safetensors", FaceAlignment, settings)
