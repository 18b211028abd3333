from __future__ import annotations

import pytest

from learned_descent import landmarks


@pytest.mark.parametrize("name", landmarks.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(landmarks, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Mask'"):
        landmarks.Mask  # noqa: B018
