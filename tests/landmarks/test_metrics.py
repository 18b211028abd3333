from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from learned_descent import DescentError, ShapeError
from learned_descent.landmarks.metrics import Normaliser, landmark_errors, normalising_distance
from learned_descent.landmarks.schema import IBUG51, IBUG68

from ..faces.fake300w import neutral_face


@pytest.fixture
def target(dtype: torch.dtype, device: torch.device) -> Tensor:
    return (100 + 50 * neutral_face()).expand(3, -1, -1).to(device, dtype)


@pytest.fixture
def box(target: Tensor) -> Tensor:
    return target.new_tensor([[50, 60, 150, 124]]).expand(3, 4)


@pytest.mark.parametrize(
    ("normaliser", "distance"), [("inter_ocular", 67.0), ("inter_pupil", 47.0), ("box", 80.0)]
)
def test_known_distances(
    target: Tensor, box: Tensor, normaliser: Normaliser, distance: float
) -> None:
    moved = target + target.new_tensor([3.0, -4.0])
    errors = landmark_errors(moved, target, IBUG68, normaliser, box)
    torch.testing.assert_close(errors, torch.full_like(errors, 5 / distance))
    torch.testing.assert_close(
        normalising_distance(target, IBUG68, normaliser, box), torch.full_like(errors, distance)
    )


def test_subset_counts_only_its_points_under_the_same_distance(target: Tensor) -> None:
    jaw_moved = target.clone()
    jaw_moved[:, :17, 0] += 6.7
    for subset, expected in ((None, 0.1 * 17 / 68), ("51", 0.0), ("49", 0.0)):
        errors = landmark_errors(jaw_moved, target, IBUG68, "inter_ocular", subset=subset)
        torch.testing.assert_close(errors, torch.full_like(errors, expected))


def test_subset_equals_the_smaller_markup(target: Tensor) -> None:
    noise = torch.randn(target.shape, generator=Generator().manual_seed(0)).to(target)
    inner = list(IBUG51.within(68))
    torch.testing.assert_close(
        landmark_errors(target + noise, target, IBUG68, "inter_pupil", subset="51"),
        landmark_errors((target + noise)[:, inner], target[:, inner], IBUG51, "inter_pupil"),
    )


def test_rows_do_not_depend_on_one_another_and_nan_stays_in_its_row(target: Tensor) -> None:
    predicted = target + torch.arange(3).to(target)[:, None, None]
    alone = torch.cat(
        [
            landmark_errors(predicted[i : i + 1], target[i : i + 1], IBUG68, "inter_ocular")
            for i in range(3)
        ]
    )
    predicted = predicted.clone()
    predicted[1, 5] = torch.nan
    errors = landmark_errors(predicted, target, IBUG68, "inter_ocular")
    assert errors.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(errors[[0, 2]], alone[[0, 2]])


def test_a_distance_of_zero_is_refused(target: Tensor, box: Tensor) -> None:
    flat = target.clone()
    flat[1, :, 0] = flat[1, :, 1] = 3.0
    for normaliser in ("inter_ocular", "inter_pupil"):
        message = (
            rf"the {normaliser} distance of sample 1 of the batch is 0 px.*\(1 of 3 samples\); "
            r"mend its true landmarks"
        )
        with pytest.raises(DescentError, match=message):
            landmark_errors(flat, flat, IBUG68, normaliser)
    for wrong in (box[:, [2, 3, 0, 1]], box * torch.nan):
        with pytest.raises(
            DescentError, match=r"the box distance of sample 0 .*\(3 of 3 samples\); mend its box"
        ):
            landmark_errors(target, target, IBUG68, "box", wrong)


@pytest.mark.usefixtures("as_installed")
def test_wrong_arguments(target: Tensor, box: Tensor) -> None:
    with pytest.raises(DescentError, match="normaliser 'box' needs the boxes"):
        landmark_errors(target, target, IBUG68, "box")
    with pytest.raises(
        DescentError, match=r"expected one of inter_ocular, .*, centroid_size, got 'diagonal'"
    ):
        landmark_errors(target, target, IBUG68, "diagonal")  # type: ignore[arg-type]
    with pytest.raises(DescentError, match="ibug68 has no subset '29'"):
        landmark_errors(target, target, IBUG68, "inter_ocular", subset="29")
    with pytest.raises(ShapeError, match="target: expected shape"):
        landmark_errors(target, target, IBUG51, "inter_ocular")
    with pytest.raises(ShapeError, match="predicted: expected shape"):
        landmark_errors(target[:2], target, IBUG68, "inter_ocular")
    with pytest.raises(ShapeError, match="box: expected shape"):
        landmark_errors(target, target, IBUG68, "box", box[:2])


def test_a_landmark_counts_by_its_weight(target: Tensor, box: Tensor) -> None:
    predicted = target.clone()
    predicted[:, 10, 0] += 8.0
    predicted[:, 20, 1] += 16.0
    weights = torch.ones_like(target[..., 0])
    weights[0, 10], weights[1, 20] = 0, 0.5
    found = landmark_errors(predicted, target, IBUG68, "box", box, weights=weights)
    wanted = target.new_tensor([16 / 67, (8 + 8) / 67.5, (8 + 16) / 68]) / 80
    torch.testing.assert_close(found, wanted)
    moved = target.clone()
    moved[0, 10] = -1e3
    again = landmark_errors(predicted, moved, IBUG68, "box", box, weights=weights)
    assert torch.equal(again, found)
    torch.testing.assert_close(
        landmark_errors(predicted, target, IBUG68, "box", box, weights=weights.new_ones(3, 68)),
        landmark_errors(predicted, target, IBUG68, "box", box),
    )


def test_a_face_without_a_landmark_of_the_subset_has_the_error_of_the_others(
    target: Tensor, box: Tensor
) -> None:
    predicted = target + target.new_tensor([3.0, 4.0])
    predicted[:, 17:] += target.new_tensor([3.0, 4.0])
    weights = torch.ones_like(target[..., 0])
    weights[1, 17:] = 0
    found = landmark_errors(predicted, target, IBUG68, "box", box, subset="51", weights=weights)
    torch.testing.assert_close(found, target.new_tensor([10.0, 5.0, 10.0]) / 80)
    weights[2] = 0
    message = r"no landmark of sample 2 of the batch counts, expected a weight above 0 \(1 of 3"
    with pytest.raises(DescentError, match=message):
        landmark_errors(predicted, target, IBUG68, "box", box, weights=weights)
