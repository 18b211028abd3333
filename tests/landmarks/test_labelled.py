"""Any landmarks in any pictures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import DescentError, load_model
from learned_descent.checkpoint.description import described_problem
from learned_descent.cli.main import main
from learned_descent.data.pictures import Picture, open_picture
from learned_descent.landmarks import cut_outs
from learned_descent.landmarks.augmentation import Augmentation
from learned_descent.landmarks.crops import apply_affine
from learned_descent.landmarks.labelled import LabelledLandmarks
from learned_descent.landmarks.schema_file import SchemaName, find_schema

from .drawn import NAMES, draw_wings, write_wings


@pytest.fixture
def wings(tmp_path: Path) -> Path:
    """A CSV of 20 wings."""
    return write_wings(tmp_path / "wings", 20)


def test_a_csv_is_all_that_is_needed(wings: Path) -> None:
    problem = LabelledLandmarks(str(wings))
    assert problem.schema.names == NAMES
    assert problem.schema.name == "wings"
    assert problem.normaliser == "centroid_size"
    assert not problem.mirror, "no pairs are known"
    sizes = {split: len(problem.data(split)["image"]) for split in ("train", "val", "test")}
    assert sizes == {"train": 14, "val": 2, "test": 4}
    batch = problem.data("train")
    assert "weights" not in batch
    assert batch["image"].dtype == torch.uint8
    assert {*batch} == {"image", "points", "box", "to_photo"}
    assert torch.isfinite(problem.initial(batch)).all()


def test_the_points_are_where_they_were_labelled(wings: Path) -> None:
    problem = LabelledLandmarks(str(wings))
    truth = draw_wings(wings.parent, 20)
    for split in ("train", "val", "test"):
        batch = problem.data(split)
        numbers = [int(Path(name).stem) for name in problem.names(split)]
        found = apply_affine(batch["to_photo"], batch["points"])
        torch.testing.assert_close(found, truth[numbers], atol=0.02, rtol=0)
        spot = batch["points"][:, 4].round().long()
        seen = batch["image"][torch.arange(len(spot)), :, spot[:, 1], spot[:, 0]]
        assert (seen[:, 0] > 150).all(), "the spot is red"
        assert (seen[:, 2] < 90).all()


def test_parts_are_disjoint_and_follow_the_seed_alone(wings: Path, tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    names = {split: [*LabelledLandmarks(str(wings)).names(split)] for split in splits}
    assert len({*names["train"], *names["val"], *names["test"]}) == 20
    moved = wings.parent.rename(tmp_path / "elsewhere") / "wings.csv"
    again = LabelledLandmarks(str(moved))
    assert {split: [*again.names(split)] for split in splits} == names
    other = LabelledLandmarks(str(moved), seed=1)
    assert [*other.names("test")] != names["test"]


def test_a_stored_problem_has_the_same_parts_and_boxes(wings: Path) -> None:
    problem = LabelledLandmarks(str(wings), seed=3, test_fraction=0.3)
    settings = described_problem(problem)["settings"]
    assert settings["boxes"] == "points"
    assert not {"data", "format"} & {*settings}
    again = LabelledLandmarks(str(wings), **{**settings, "augmentation": problem.augmentation})
    for name, value in problem.data("test").items():
        assert torch.equal(again.data("test")[name], value)


def test_schema_beside_the_data(wings: Path) -> None:
    wings.with_name("schema.yaml").write_text(
        f"num_points: 5\nnames: [{', '.join(NAMES)}]\nmirror_pairs: [[front, back]]\n"
        "normaliser: [root, tip]\n"
    )
    problem = LabelledLandmarks(str(wings))
    assert problem.normaliser == "two_points"
    assert problem.schema.mirror == (0, 3, 2, 1, 4)
    assert len(problem.data("train")["image"]) == 28, "with their mirror images"
    assert problem.names("train")[14:] == [
        f"{name} (mirrored)" for name in problem.names("train")[:14]
    ]


def test_a_point_that_is_not_labelled_weighs_nothing(wings: Path) -> None:
    lines = wings.read_text().splitlines()
    for place, line in list(enumerate(lines))[1::2]:
        lines[place] = line.rpartition(",")[0].rpartition(",")[0] + ",,"
    wings.write_text("\n".join(lines))
    batch = LabelledLandmarks(str(wings)).data("train")
    known = batch["weights"]
    assert (known[:, :4] == 1).all()
    assert 0 < known[:, 4].sum() < len(known)
    assert batch["points"].isfinite().all()


def test_boxes(wings: Path) -> None:
    around = LabelledLandmarks(str(wings)).data("test")
    widths = around["box"][:, 2] - around["box"][:, 0]
    torch.testing.assert_close(widths, torch.full((4,), 115.2), atol=1e-3, rtol=0)
    scale = around["to_photo"][:, 0, 0]
    assert scale.std() > 0, "drawn anew for each picture"
    whole = LabelledLandmarks(str(wings), boxes="image")
    assert whole.box_side == whole.crop
    box = apply_affine(whole.data("test")["to_photo"], whole.data("test")["box"].view(-1, 2, 2))
    torch.testing.assert_close(box.flatten(1)[0], torch.tensor([0.0, 0.0, 159.0, 119.0]))
    table = wings.with_name("boxes.csv")
    table.write_text("\n".join(f"{number:02d}.png,20,10,140,110" for number in range(20)))
    given = LabelledLandmarks(str(wings), boxes=table).data("test")
    box = apply_affine(given["to_photo"], given["box"].view(-1, 2, 2)).flatten(1)
    torch.testing.assert_close(box, torch.tensor([[20.0, 10.0, 140.0, 110.0]]).expand(4, 4))
    with pytest.raises(DescentError, match=r"wings.csv:\d+: no box; add it, or choose"):
        LabelledLandmarks(str(wings), boxes="file").data("test")


def test_a_column_tells_the_part(wings: Path) -> None:
    head, *rows = wings.read_text().splitlines()
    parts = ["Training"] * 15 + ["val"] * 2 + ["test"] * 3
    rows = [f"{row},{part}" for row, part in zip(rows, parts)]
    wings.write_text("\n".join([f"{head},split", *rows]))
    problem = LabelledLandmarks(str(wings))
    assert [*problem.names("test")] == ["17.png", "18.png", "19.png"]
    assert len(problem.names("train")) == 15
    wings.write_text("\n".join([f"{head},split", *rows[:17]]))
    with pytest.raises(DescentError, match="data: no picture is for test: of 17 labels"):
        LabelledLandmarks(str(wings)).data("test")
    wings.write_text("\n".join([f"{head},split", *rows[:-1], rows[-1].rpartition(",")[0] + ","]))
    with pytest.raises(DescentError, match=r"wings.csv:21: it does not say whether"):
        LabelledLandmarks(str(wings)).data("test")


def test_folders_tell_the_part(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("test", 2)):
        write_wings(tmp_path / part, count, seed=count)
    problem = LabelledLandmarks(str(tmp_path))
    assert [*problem.names("test")] == ["test/00.png", "test/01.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [rows[0], "99.png" + rows[1][6:]], r"wings.csv:2: there is no picture .*99"),
        (lambda rows: [*rows[:2], rows[2] + ",5"], r"wings.csv:3: expected 11 cells.*got 12"),
        (lambda rows: [row + ",colour" for row in rows], "the column 'colour' is not known"),
        (
            lambda rows: [*rows, rows[3]],
            r":22: what is labelled in 02.png is labelled at .*:4 al",
        ),
        (
            lambda rows: [rows[0], "00.png,20,900" + rows[1][rows[1].index(",", 16) :], *rows[2:]],
            r"point 'root' lies at \(20, 900\), outside of the picture of 160 x 120 px",
        ),
        (lambda rows: [*rows[:2], "01.png" + 10 * ","], "wings.csv:3: no point is labelled"),
        (lambda rows: rows[:1], "there are no labels below its titles"),
    ],
)
def test_each_mistake_is_one_message(wings: Path, change, message: str) -> None:
    wings.write_text("\n".join(change(wings.read_text().splitlines())))
    with pytest.raises(DescentError, match=message):
        LabelledLandmarks(str(wings)).data("train")


def test_unusable_labels_can_be_skipped(wings: Path) -> None:
    (wings.parent / "03.png").write_text("no picture")
    (wings.parent / "04.png").unlink()
    with pytest.raises(
        DescentError, match=r"1 of 20 labels cannot be used:\n.*\nMend .*--skip-bad"
    ):
        LabelledLandmarks(str(wings)).data("train")
    problem = LabelledLandmarks(str(wings), skip_bad=True)
    names = [name for split in ("train", "val", "test") for name in problem.names(split)]
    assert len(names) == 18
    assert not {"03.png", "04.png"} & {*names}


def test_a_picture_in_two_parts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("image,x0,y0,x1,y1,split\na.png,1,2,3,4,train\na.png,2,2,3,4,test\n")
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    with pytest.raises(DescentError, match=r"a.csv:3: a.png is in the part test, and .*:2 has it"):
        LabelledLandmarks(str(file))


def test_mixed_markups_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("image,x0,y0\na.png,1,2\n")
    second.write_text("image,x0,y0,x1,y1\nb.png,1,2,3,4\n")
    with pytest.raises(DescentError, match=r"b.csv:2: 2 points, and .*a.csv:2 has 1"):
        LabelledLandmarks([str(first), str(second)])


def test_without_data_there_is_one_word() -> None:
    with pytest.raises(DescentError, match="data: expected a file or a folder of labels, got None"):
        LabelledLandmarks().data("train")


def test_from_a_csv_to_weights_and_back(
    wings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    small = ["--problem.crop", "64", "--sdm.model.num_steps", "1", "--families", "sdm"]
    assert main(["compare", "landmarks", "--data", str(wings), "--out", str(out), *small]) == 0
    assert (out / "report.html").is_file()
    names = [*LabelledLandmarks(str(wings)).names("test")]
    assert json.loads((out / "results.json").read_text())["names"] == names
    assert re.search(r"worst of sdm: \d\d.png [\d.]+, ", capsys.readouterr().out)
    assert main(["evaluate", str(out / "sdm.safetensors"), "--data", str(wings)]) == 0
    assert re.search(r"worst of sdm: \d\d.png [\d.]+, ", capsys.readouterr().out)
    assert json.loads((out / "sdm.test.json").read_text())["names"] == names
    listed = (out / "errors.csv").read_text().splitlines()
    assert listed[0] == "name,sdm"
    assert [line.split(",")[0] for line in listed[1:]] == names
    assert (out / "sdm.test.errors.csv").read_text().splitlines() == listed
    assert "<dt>sdm</dt><dd>" in (out / "report.html").read_text()
    (out / "sdm.test.json").unlink()
    assert main(["evaluate", str(out / "sdm.safetensors"), "--data", str(wings)]) == 2
    assert "sdm.test.errors.csv: is there already" in capsys.readouterr().err
    every = ["evaluate", str(out / "sdm.safetensors"), "--data", str(wings), "--overwrite"]
    assert main([*every, "--problem.test_fraction", "1"]) == 0
    assert len(json.loads((out / "sdm.test.json").read_text())["names"]) == 20
    assert load_model(out / "sdm.safetensors").problem.schema.names == NAMES


def test_a_box_is_around_the_points_that_are_not_labelled_too(wings: Path) -> None:
    whole = LabelledLandmarks(str(wings)).data("train")["to_photo"][:, 0, 0]
    lines = wings.read_text().splitlines()
    for place in range(1, len(lines), 3):  # without the tip and what is next to it
        cells = lines[place].split(",")
        lines[place] = ",".join([*cells[:5], "", "", *cells[7:]])
    wings.write_text("\n".join(lines))
    torch.testing.assert_close(
        LabelledLandmarks(str(wings)).data("train")["to_photo"][:, 0, 0], whole, rtol=0.1, atol=0
    )


def test_a_picture_that_is_not_there_may_be_one_beside_it(wings: Path) -> None:
    wings.write_text(wings.read_text().replace("07.png", "07.jpeg"))
    message = r"there is no picture .*07.jpeg: did you mean 07.png\?"
    with pytest.raises(DescentError, match=message):
        LabelledLandmarks(str(wings)).data("train")


def test_a_copy_in_another_part_is_refused_whatever_is_labelled_in_it(wings: Path) -> None:
    head, *rows = wings.read_text().splitlines()
    copy = wings.parent / "copy.png"
    shutil.copy(wings.parent / "03.png", copy)
    rows = [f"{row},train" for row in rows] + ["copy.png,1,2,3,4,5,6,7,8,9,9,test"]
    wings.write_text("\n".join([f"{head},split", *rows]))
    with pytest.raises(DescentError, match=r"csv:22: copy.png, of test, is a copy of 03.png, of"):
        LabelledLandmarks(str(wings)).data("train")


def test_a_picture_with_two_labels_is_decoded_once(
    wings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = wings.read_text().splitlines()
    wings.write_text("\n".join([*rows, "03.png,1,2,30,4,15,6,7,18,9,9"]))
    opened: list[Path] = []

    def opening(image: Path) -> Picture:
        opened.append(image)
        return open_picture(image)

    monkeypatch.setattr(cut_outs, "open_picture", opening)
    problem = LabelledLandmarks(str(wings), test_fraction=0, val_fraction=0)
    assert len(problem.data("train")["image"]) == 21
    assert len(opened) == len({*opened}) == 20
    assert problem.names("train")[-1] == "03.png #2"


def test_a_failure_is_as_large_for_any_number_of_points(wings: Path, tmp_path: Path) -> None:
    assert LabelledLandmarks(str(wings)).failure_above == 0.0581
    assert LabelledLandmarks(str(wings), normaliser="box").failure_above == 0.08
    faces = LabelledLandmarks(str(faces_of(tmp_path, 68)), schema="ibug68")
    assert (faces.normaliser, faces.failure_above) == ("inter_ocular", 0.08)


def faces_of(tmp_path: Path, count: int) -> Path:
    """A CSV of five pictures with ``count`` numbered points, all different."""
    lines = ["image," + ",".join(f"x{number},y{number}" for number in range(count))]
    for number in range(5):
        Image.new("RGB", (200, 160), (number, 0, 0)).save(tmp_path / f"{number}.png")
        points = [(20 + number + 1.5 * point, 30 + point % 7) for point in range(count)]
        lines.append(f"{number}.png," + ",".join(f"{x},{y}" for x, y in points))
    file = tmp_path / f"faces{count}.csv"
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("name", ["ibug68", "ibug51", "ibug49"])
def test_weights_of_one_markup_read_data_of_a_larger_one(tmp_path: Path, name: SchemaName) -> None:
    problem = LabelledLandmarks(str(faces_of(tmp_path, 98)), schema=name)
    batch = problem.data("test")
    found = apply_affine(batch["to_photo"], batch["points"])[0]
    column = (
        20
        + int(Path(problem.names("test")[0]).stem)
        + 1.5 * torch.tensor(find_schema(name).sources[98])
    )
    torch.testing.assert_close(found[:, 0], column)
    assert "weights" not in batch


def test_weights_of_one_markup_read_data_of_a_smaller_one(tmp_path: Path) -> None:
    shape = torch.rand(98, 2)
    problem = LabelledLandmarks(str(faces_of(tmp_path, 68)), schema="wflw98")
    problem.mean_shape.copy_(shape)  # as stored weights bring it
    batch = problem.data("test")
    known = batch["weights"][0] > 0
    assert known.nonzero().flatten().tolist() == list(find_schema("ibug68").sources[98])
    assert next(iter(problem.metrics(problem.initial(batch), batch).values())).isfinite().all()


def test_another_number_of_points_is_refused(tmp_path: Path) -> None:
    file = str(faces_of(tmp_path, 30))
    with pytest.raises(DescentError, match=r"faces30.csv:2: 30 points, but ibug68 is"):
        LabelledLandmarks(file, schema="ibug68").data("train")
    problem = LabelledLandmarks(file, augmentation=Augmentation(turn=9.0))
    batch = problem.data("train")
    with pytest.raises(DescentError, match=r"augmentation.turn: no shape in space is known"):
        problem.augment(batch, torch.Generator())


def test_a_problem_that_names_too_few_samples_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "few.py"
    file.write_text(
        "from learned_descent.problems import Analytic\n"
        "class Few(Analytic):\n    def names(self, split):\n        return ['a']\n"
    )
    words = ["compare", f"{file}:Few", "--families", "sdm", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "Few.names('test'): expected a name for each of the 41 samples, got 1" in (
        capsys.readouterr().err
    )


def test_a_copy_of_a_picture_is_found_by_its_content(wings: Path) -> None:
    shutil.copy(wings.with_name("03.png"), wings.with_name("copy.png"))
    lines = wings.read_text().splitlines()
    wings.write_text("\n".join([*lines, lines[4].replace("03.png", "copy.png")]))
    message = r"csv:22: what is labelled in copy.png, a copy of 03.png, is labelled at .*:5 already"
    with pytest.raises(DescentError, match=message):
        LabelledLandmarks(str(wings)).data("train")


def test_several_things_in_one_picture(wings: Path) -> None:
    lines = wings.read_text().splitlines()
    head, row = lines[0], lines[1].split(",")
    other = [
        row[0],
        *(f"{float(value) + 40 - 40 * (place % 2):g}" for place, value in enumerate(row[1:], 1)),
    ]
    wings.write_text("\n".join([head, ",".join(row), ",".join(other), *lines[2:]]))
    problem = LabelledLandmarks(str(wings), skip_bad=True)
    parts = {split: [*problem.names(split)] for split in ("train", "val", "test")}
    (part,) = [names for names in parts.values() if "00.png" in names]
    assert "00.png #2" in part, "the labels of one picture stay together"


def test_names_of_two_markups_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("image,root_x,root_y\na.png,1,2\n")
    second.write_text("image,nose_x,nose_y\nb.png,1,2\n")
    with pytest.raises(
        DescentError, match=r"b.csv:2: its points are nose, and those of .* root: exp"
    ):
        LabelledLandmarks([str(first), str(second)])
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    second.write_text("image,nose_x,nose_y,root_x,root_y\na.png,1,2,3,4\n")
    wing = {"name": "wing", "num_points": 2, "names": ["root", "tip"]}
    with pytest.raises(DescentError, match=r"b.csv:2: point 'nose' is not in the schema 'wing'"):
        LabelledLandmarks(str(second), schema=wing).data("train")


def test_names_that_are_not_those_of_the_schema_are_not_taken_by_their_places(
    wings: Path,
) -> None:
    names = [name.upper() for name in NAMES]
    wings.with_name("schema.yaml").write_text(f"num_points: 5\nnames: [{', '.join(names)}]\n")
    message = (
        rf"wings.csv:\d+: its points are {', '.join(NAMES)}, and those of the schema 'schema' "
        rf"{', '.join(names)}: expected one markup; rename them, or"
    )
    with pytest.raises(DescentError, match=message):
        LabelledLandmarks(str(wings)).data("train")
    said = {"name": "few", "num_points": 2, "names": ["a", "b"], "sources": {5: [2, 0]}}
    batch = LabelledLandmarks(str(wings), schema=said).data("train")
    plain = LabelledLandmarks(str(wings), schema={"name": "plain", "num_points": 5}).data("train")
    found, given = (apply_affine(own["to_photo"], own["points"]) for own in (batch, plain))
    torch.testing.assert_close(found, given[:, [2, 0]], atol=1e-3, rtol=0)


def test_two_schemas_beside_the_data_are_refused_unless_they_are_one(tmp_path: Path) -> None:
    folders = [write_wings(tmp_path / name, 5, seed=seed).parent for seed, name in enumerate("ab")]
    for folder in folders:
        (folder / "schema.yaml").write_text("num_points: 5\n")
    assert LabelledLandmarks([*map(str, folders)]).schema.name == "schema"
    (folders[1] / "schema.yaml").write_text("num_points: 5\nmirror_pairs: [[1, 3]]\n")
    with pytest.raises(DescentError, match=r"schema: .*a.schema.yaml and .*b.schema.yaml do not"):
        LabelledLandmarks([*map(str, folders)])


def test_labels_are_sorted_out_once(
    wings: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wings.with_name("04.png").unlink()
    problem = LabelledLandmarks(str(wings), skip_bad=True)
    for split in ("train", "val", "test"):
        problem.data(split)
    assert caplog.text.count("1 of 20 labels are left out") == 1


def test_pictures_of_any_size_and_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["image,x0,y0,x1,y1"]
    kinds = {
        "1": "png",
        "L": "png",
        "P": "gif",
        "RGBA": "webp",
        "CMYK": "tif",
        "I;16": "tiff",
        "RGB": "jpg",
    }
    for number, (mode, ending) in enumerate(kinds.items(), 1):
        size = (60 * number, 40 * number)
        values = np.full((size[1], size[0]), 1000, np.uint16)
        made = Image.fromarray(values) if mode == "I;16" else Image.new(mode, size)
        name = f"{number}.{ending}"
        made.save(tmp_path / name)
        lines.append(f"{name},{number},{number},{50 * number},{30 * number}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    problem = LabelledLandmarks(str(tmp_path), test_fraction=0, val_fraction=0)
    assert problem.data("train")["image"].shape == (7, 3, 192, 192)
    assert "6.tiff: the image has room for more bits" in caplog.text


def test_a_single_point_in_a_whole_picture(tmp_path: Path) -> None:
    lines = ["image,x0,y0"]
    for number in range(8):
        picture = Image.new("RGB", (80, 60), (200, 210, 220))
        x, y = 20 + 5 * number, 10 + 4 * number
        picture.paste((200, 20, 20), (x - 3, y - 3, x + 4, y + 4))
        picture.save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{x},{y}")
    file = tmp_path / "spots.csv"
    file.write_text("\n".join(lines))
    problem = LabelledLandmarks(str(file), boxes="image")
    assert problem.normaliser == "box"
    batch = problem.data("train")
    assert torch.isfinite(problem.initial(batch, torch.Generator())).all()
    with pytest.raises(DescentError, match="all points of a label are in one place"):
        LabelledLandmarks(str(file)).data("train")


def test_a_word_that_is_no_source_of_boxes() -> None:
    for word in ("odd", Path("odd")):
        with pytest.raises(
            DescentError, match="boxes: expected one of file, points, image, got 'odd'"
        ):
            LabelledLandmarks(boxes=word)  # type: ignore[arg-type]
