from __future__ import annotations

import pytest
import torch

from learned_descent.faces.agreement import agree, fit_often
from learned_descent.faces.alignment import FaceAlignment

from .aligners import small_model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_first_fit_is_the_one_of_testing(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[9.5, 9.5, 37.5, 37.5]]).expand(3, 4)
    wanted = model.problem.points(model({"image": images, "box": box}).final)
    for starts in (1, 3):
        fits = fit_often(model, images, starts=starts)
        assert fits.shape == (3, 2 * starts, model.problem.schema.num_points, 2)
        torch.testing.assert_close(fits[:, 0], wanted)


def test_the_mirrored_crop_gives_the_mirrored_fit(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    fits, mirrored = (fit_often(model, faces, starts=2) for faces in (images, images.flip(-1)))
    back = mirrored[:, :, model.problem.mirror_points]
    torch.testing.assert_close(fits[:, 2:, :, 0], 47 - back[:, :2, :, 0])
    torch.testing.assert_close(fits[:, 2:, :, 1], back[:, :2, :, 1])


def test_a_face_does_not_depend_on_the_others_nor_on_the_time_of_day(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    together = fit_often(model, images, starts=3, batch_size=2)
    torch.testing.assert_close(together[1:2], fit_often(model, images[1:2], starts=3))


def test_without_statistics_all_starts_are_alike(images: torch.Tensor):
    model = small_model()
    assert isinstance(model.problem, FaceAlignment)
    model.problem.start_factor.zero_()
    _, spread = agree(fit_often(model, images, starts=3)[:, :3])
    assert spread.max() < 1e-4
