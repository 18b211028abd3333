"""Coarse-to-fine search: many candidates, learned weights, regions that shrink."""

from __future__ import annotations

import pytest
import torch

from learned_descent import Cascade, DescentError, SequentialRidge
from learned_descent.checkpoint import load_model, save_model
from learned_descent.models import CoarseToFineSearch
from learned_descent.problems import Analytic
from learned_descent.testing.checks import check_model
from learned_descent.training import SearchRidge
from learned_descent.training.search_ridge import at_candidates
from learned_descent.training.uneven import WeighedRows

from ..landmarks.dots import Dots
from ..toys import Bent, Gaps, Line, Turn

RIDGE = SearchRidge(ridge=1e-4, accelerator="cpu")


@pytest.fixture(scope="module")
def trained() -> CoarseToFineSearch:
    problem = Dots()
    model = CoarseToFineSearch.for_problem(problem, num_steps=3, candidates=5)
    SearchRidge(ridge=0.1, repeats=2).fit(model, problem.data("train"))
    return model


def test_untrained_returns_its_start(device):
    model = CoarseToFineSearch.for_problem(Turn(), candidates=3)
    assert not check_model(model, untrained=True, device=device).warnings


def test_it_finds_what_it_looks_for(trained):
    batch = trained.problem.data("test")
    with torch.no_grad():
        xs = trained(batch).xs
    errors = [trained.problem.error(x, batch).mean() for x in xs]
    assert errors[-1] < 0.4 * errors[0]


def test_the_region_shrinks_from_step_to_step(trained):
    widths = trained.observation.offsets.square().sum(2).mean(1)
    assert widths[0] > 2 * widths[1] > 2 * widths[2]
    assert not trained.observation.offsets[:, 0].any(), "the first candidate is the centre"


def test_a_candidate_near_the_truth_counts_more(trained):
    problem = trained.problem
    batch = problem.data("train")
    with torch.no_grad():
        trajectory = trained(batch, keep_states=True)
    weights = trajectory.states.weights[0]
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    missing = problem.local(trajectory.xs[0], problem.target(batch))
    far = (missing.unsqueeze(1) - trained.observation.offsets[0]).norm(dim=2)
    assert far.gather(1, weights.argmax(1, keepdim=True)).mean() < 0.8 * far.mean()


def test_the_step_is_the_mean_of_what_the_candidates_propose(trained):
    batch = trained.problem.data("test")
    with torch.no_grad():
        xs, states = (found := trained(batch, keep_states=True)).xs, found.states
    for k in range(3):
        mean = (states.weights[k].unsqueeze(2) * states.proposals[k]).sum(1)
        torch.testing.assert_close(trained.problem.local(xs[k], xs[k + 1]), mean, atol=1e-5, rtol=0)


def test_one_candidate_is_supervised_descent():
    class Still(Line):
        def initial(self, batch, generator=None):
            return super().initial(batch)

    problem = Still(torch.float64)
    search = CoarseToFineSearch.for_problem(problem, candidates=1, observation=Bent()).double()
    cascade = Cascade.for_problem(problem, observation=Bent()).double()
    RIDGE.fit(search, problem.data("train"))
    SequentialRidge(ridge=1e-4).fit(cascade, problem.data("train"))
    batch = problem.data("test")
    torch.testing.assert_close(search(batch).xs, cascade(batch).xs, rtol=1e-9, atol=1e-11)


def test_noise_free_linear_data_are_solved_by_one_step():
    problem = Line(torch.float64)
    model = CoarseToFineSearch.for_problem(problem, num_steps=1, candidates=4).double()
    SearchRidge(ridge=1e-14).fit(model, problem.data("train"))
    batch = problem.data("test")
    assert problem.error(model(batch).final, batch).max() < 1e-6


def test_what_a_missing_coordinate_holds_is_not_used():
    problem = Gaps(torch.float64)
    batch = problem.data("train")
    other = {**batch, "x": torch.where(batch["weights"] == 0, 100.0, batch["x"])}
    models = [
        CoarseToFineSearch.for_problem(problem, num_steps=2, candidates=3, observation=Bent())
        for _ in range(2)
    ]
    for model, samples in zip(models, (batch, other)):
        RIDGE.fit(model.double(), samples)
    for one, two in zip(*(model.state_dict().values() for model in models)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_how_far_a_candidate_is_from_nothing_is_not_learned():
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    row = WeighedRows(torch.ones(2, 6), torch.ones(2, 2), weights)
    found = at_candidates(row, torch.zeros(2, 2)).weights
    assert found[:, 2].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert torch.equal(found[:, :2], weights.repeat_interleave(2, dim=0))


def test_the_candidates_are_stored_with_the_weights(tmp_path):
    problem = Analytic("sin")
    model = CoarseToFineSearch.for_problem(problem, candidates=3)
    RIDGE.fit(model, problem.data("train"))
    save_model(model, tmp_path / "search.safetensors")
    again, batch = load_model(tmp_path / "search.safetensors"), problem.data("test")
    assert model.observation.offsets.any()
    assert torch.equal(again(batch).xs, model.eval()(batch).xs)
    assert model.observation.in_words() == "Residual around x"


def test_what_cannot_be_done_is_said():
    problem = Line()
    model = CoarseToFineSearch.for_problem(problem, num_steps=2)
    with pytest.raises(DescentError, match="at most the 2 steps that it was made with"):
        model(problem.data("test"), num_steps=3)
    with pytest.raises(DescentError, match="SearchRidge trains a CoarseToFineSearch, got Cascade"):
        RIDGE.fit(Cascade.for_problem(problem), problem.data("train"))
