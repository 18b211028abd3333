from __future__ import annotations

import contextlib

import torch
from torch import nn

from learned_descent.training.average import MovingAverage


def weights(*values, device="cpu", dtype=torch.float32):
    return [nn.Parameter(torch.tensor(value, device=device, dtype=dtype)) for value in values]


def test_the_average_follows_its_formula(generator, device, dtype):
    parameters = weights([1.0, -2.0], [[3.0]], device=device, dtype=dtype)
    average = MovingAverage(parameters, decay=0.4)
    wanted = [parameter.detach().clone() for parameter in parameters]
    for iteration in range(12):
        for place, parameter in enumerate(parameters):
            parameter.data += torch.randn(
                parameter.shape, generator=generator, device=device, dtype=dtype
            )
            keep = min(0.4, (1 + iteration) / (10 + iteration))
            wanted[place] = keep * wanted[place] + (1 - keep) * parameter.detach()
        average.update(iteration)
        torch.testing.assert_close(average.values, wanted)


def test_early_weights_are_soon_forgotten():
    (parameter,) = parameters = weights([100.0])
    average = MovingAverage(parameters, decay=0.999)
    parameter.data.fill_(1)
    for iteration in range(20):
        average.update(iteration)
    assert average.values[0] < 1 + 1e-3  # with 0.999 from the beginning it would be 98


def test_the_average_of_what_stands_still_is_itself(dtype):
    parameters = weights([0.1, 0.7], dtype=dtype)
    average = MovingAverage(parameters, decay=0.99)
    for iteration in range(50):
        average.update(iteration)
    torch.testing.assert_close(average.values[0], parameters[0].detach())


def test_without_decay_it_is_the_parameters():
    (parameter,) = parameters = weights([1.0])
    average = MovingAverage(parameters, decay=0.0)
    parameter.data.fill_(5)
    average.update(1000)
    assert torch.equal(average.values[0], parameter)


def test_it_begins_as_a_copy():
    (parameter,) = parameters = weights([1.0])
    average = MovingAverage(parameters, decay=0.9)
    parameter.data += 1
    assert average.values[0].tolist() == [1]
    assert not average.values[0].requires_grad


def test_parameters_hold_the_average_inside_the_block():
    layer = nn.Linear(2, 1)
    average = MovingAverage(list(layer.parameters()), decay=0.5)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    for parameter in layer.parameters():
        parameter.data += 1
    x = torch.ones(1, 2)
    with average.in_place():
        assert all(
            torch.equal(parameter, value) for parameter, value in zip(layer.parameters(), before)
        )
        torch.testing.assert_close(layer(x), x @ before[0].T + before[1])
    assert all(
        torch.equal(parameter, value + 1) for parameter, value in zip(layer.parameters(), before)
    )


def test_parameters_return_after_an_error():
    (parameter,) = parameters = weights([1.0])
    average = MovingAverage(parameters, decay=0.5)
    parameter.data.fill_(7)
    with contextlib.suppress(KeyError), average.in_place():
        raise KeyError
    assert parameter.item() == 7


def test_an_optimiser_goes_on_with_the_same_parameters():
    (parameter,) = parameters = weights([1.0])
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    average = MovingAverage(parameters, decay=0.5)
    with average.in_place():
        pass
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert parameter.item() == 0
    assert average.values[0].item() == 1
