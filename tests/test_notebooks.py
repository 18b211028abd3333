"""The notebooks of the documentation run from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("myst_nb")

import nbclient
from myst_nb.core.read import read_myst_markdown_notebook

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decay", "paper", "wings"])
def test_notebook_runs(name, tmp_path):
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    notebook = read_myst_markdown_notebook(text)
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == ["decay", "paper", "wings"]
