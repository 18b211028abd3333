"""Files of boxes; what is said of broken ones has its tests beside those of broken faces."""

from __future__ import annotations

from pathlib import Path

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.boxes import find_boxes, read_all_boxes, read_boxes


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,10,20,40,80",
        "a.jpg;10;20;40;80",
        "image,x0,y0,x1,y1\na.jpg,10,20,40,80",
        "image,y0,x0,y1,x1\na.jpg,20,10,80,40",
        "File Name; X Min".replace("; ", ",") + ",Y Min,x_max,Y-Max\na.jpg,10,20,40,80",
        "left,top,right,bottom,image\n10,20,40,80,a.jpg",
        "image,x1,y1,x2,y2\na.jpg,10,20,40,80",
        "image,x,y,width,height\na.jpg,10,20,30,60",
        "h,w,y,x,path\n60,30,20,10,a.jpg",
        "filename,left,top,width,height\na.jpg,10,20,30,60",
    ],
)
def test_titles_say_what_the_columns_of_boxes_are(tmp_path: Path, text: str) -> None:
    """They were passed over, and the columns read as corners."""
    (tmp_path / "boxes.csv").write_text(text)
    assert read_boxes(tmp_path / "boxes.csv") == {"a.jpg": [10, 20, 40, 80]}


def test_an_image_may_have_several_boxes_for_a_photo_but_one_for_training(tmp_path: Path) -> None:
    several = {
        "a.jpg": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]],
        "b.jpg": [[0.0, 0.0, 9.0, 9.0]],
    }
    (tmp_path / "boxes.json").write_text(
        '{"a.jpg": [[1, 2, 3, 4], [5, 6, 7, 8]], "b.jpg": [0, 0, 9, 9]}'
    )
    (tmp_path / "boxes.csv").write_text("a.jpg,1,2,3,4\nb.jpg,0,0,9,9\na.jpg,5,6,7,8\n")
    for name in ("boxes.json", "boxes.csv"):
        assert read_all_boxes(tmp_path / name) == several
        with pytest.raises(DescentError, match=r"names 'a.jpg' twice; keep one box"):
            read_boxes(tmp_path / name)


def test_the_longest_entry_that_a_path_ends_with_gives_its_boxes(tmp_path: Path) -> None:
    boxes = {"a.jpg": [[1.0]], "one/a.jpg": [[2.0]], (tmp_path / "b.jpg").as_posix(): [[3.0]]}
    assert find_boxes(boxes, Path("a.jpg")) == [[1.0]]
    assert find_boxes(boxes, Path("two/a.jpg")) == [[1.0]]
    assert find_boxes(boxes, tmp_path / "one" / "a.jpg") == [[2.0]]
    assert find_boxes(boxes, tmp_path / "b.jpg") == [[3.0]]
    with pytest.raises(
        DescentError, match=r"ba.jpg: there is no box for it in the file of boxes; add one"
    ):
        find_boxes(boxes, Path("ba.jpg"))
