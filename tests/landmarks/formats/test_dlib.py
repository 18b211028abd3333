"""The XML of dlib."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.formats.dlib import DlibXML
from learned_descent.landmarks.formats.format import Labelled

from .shared import found, same, written

WINGS = """\
<?xml version='1.0' encoding='ISO-8859-1'?>
<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>
<dataset><name>wings</name><images>
  <image file='a.png'>
    <box top='2' left='1' width='60' height='40'>
      <label>wing</label><part name='10' x='50' y='6'/><part name='2' x='3' y='4'/>
    </box>
    <box top='2' left='1' width='60' height='40'><part name='2' x='9' y='8'/></box>
    <box top='2' left='1' width='60' height='40' ignore='1'><part name='3' x='9' y='8'/></box>
    <box top='2' left='1' width='60' height='40'/>
  </image>
</images></dataset>
"""


def test_boxes_and_parts(tmp_path: Path):
    first, second = found(tmp_path / "wings.xml", WINGS, DlibXML)
    assert first.image == second.image == tmp_path / "a.png"
    assert first.points.tolist() == [[3.0, 4.0], [50.0, 6.0]], "numbers are sorted as numbers"
    assert first.names == ()
    assert first.box == (1.0, 2.0, 60.0, 41.0)
    assert second.weights.tolist() == [1.0, 0.0]


def test_parts_with_names(tmp_path: Path):
    text = WINGS.replace("'10'", "'tip'").replace("'2' x", "'root' x")
    first, _ = found(tmp_path / "wings.xml", text, DlibXML)
    assert first.names == ("tip", "root")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</dataset>", "", "wings.xml: expected an XML file"),
        ("width='60' ", "", "a.png: a box has no width"),
        ("x='50'", "x='fifty'", "a.png: x: expected a number, got 'fifty'"),
        ("'10'", "'2'", "a box has the part '2' twice"),
        ("<part ", "<other ", "no box with parts in it"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, message: str):
    file = tmp_path / "wings.xml"
    file.write_text(WINGS.replace(old, new))
    with pytest.raises(DescentError, match=message):
        DlibXML().read(file)


@pytest.mark.parametrize("names", [(), ("root", "tip")])
def test_what_is_written_is_read_again(tmp_path: Path, names: tuple[str, ...]):
    nowhere = [torch.nan, torch.nan]
    labels = [
        Labelled.of(
            tmp_path / "a.png", [[1.4, 2.0], [9.0, 8.0]], "a", names=names, box=[1, 1, 9, 9]
        ),
        Labelled.of(tmp_path / "a.png", [[5.0, 6.0], nowhere], "b", names=names),
    ]
    again = written(tmp_path / "wings.xml", DlibXML, labels)
    for one, other in zip(labels, again):
        same(one, other, within=0.5)
        assert one.names == other.names
    assert again[0].box == (1.0, 1.0, 9.0, 9.0)
