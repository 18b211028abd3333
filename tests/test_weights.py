from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from learned_descent import DescentError, weights
from learned_descent.weights import find_weights, weights_names


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that come with the package."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("sdm.safetensors", "mdm.safetensors", "mdm.md"):
        (folder / name).touch()
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


def test_weights_of_the_package_go_by_name(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert weights_names() == ["mdm", "sdm"]
    (tmp_path / "mdm").touch()
    assert find_weights("mdm") == package / "mdm.safetensors"
    assert find_weights("./mdm") == Path("mdm")
    assert find_weights(package / "sdm.safetensors") == package / "sdm.safetensors"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cnn",
            (
                "weights 'cnn': there is no such file; expected a weights file, or the name of .* "
                "the package: mdm, sdm$"
            ),
        ),
        (".", r"weights '\.': \. is a folder; expected a weights file, .*: mdm, sdm$"),
    ],
)
@pytest.mark.usefixtures("package")
def test_a_missing_name_lists_the_names(name: str, message: str):
    with pytest.raises(DescentError, match=message):
        find_weights(name)


def test_a_package_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(DescentError, match="none are there"):
        find_weights("mdm")


@pytest.mark.parametrize("name", ["mdm", "mdm-synthetic", "sdm", "tokens"])
def test_the_card_states_the_digest_of_what_is_shipped(name: str):
    digest = hashlib.sha256(find_weights(name).read_bytes()).hexdigest()
    assert digest in (weights.FOLDER / f"{name}.md").read_text(encoding="utf-8")
