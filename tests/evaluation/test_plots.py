from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from learned_descent import (
    Concat,
    DescentError,
    DescentModel,
    Frozen,
    ImageObservation,
    Observation,
    Problem,
)
from learned_descent.data.samples import Batch
from learned_descent.evaluation.evaluation import Evaluation, evaluate
from learned_descent.evaluation.plots import PALETTE, plot_ced, plot_fits, plot_steps, plot_time
from learned_descent.evaluation.plots.frames import color_of, styles


class Eyes(ImageObservation):
    """Cheats: sees the way that is left."""

    def __init__(self) -> None:
        super().__init__(lambda x: x.unflatten(1, (-1, 2)), image="photo")

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return batch["points"].flatten(1) - x


class Residuals(Observation):
    """The same, of a problem without images."""

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return batch["points"].flatten(1) - x


class Blobs(Problem):
    """Five bright blobs on a 48 x 48 image."""

    failure_above = 2.0
    edges = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0))

    def __init__(
        self, count: int = 24, channels: int = 1, dtype: torch.dtype = torch.uint8
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        angles = torch.arange(5) * (2 * math.pi / 5)
        self.register_buffer("mean", 23.5 + 11 * torch.stack([angles.sin(), -angles.cos()], 1))
        move = 3 * torch.randn(count, 1, 2, generator=generator)
        points = self.mean + move + 1.5 * torch.randn(count, 5, 2, generator=generator)
        grid = torch.stack(
            torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="xy"), -1
        )
        distances = (grid[None, None] - points[:, :, None, None]).square().sum(-1)
        image = 200 * torch.exp(-distances / 8).amax(1) + 40 * torch.rand(
            count, 48, 48, generator=generator
        )
        self.samples = {
            "photo": image[:, None].expand(-1, channels, -1, -1).to(dtype),
            "points": points,
        }

    def initial(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        return self.mean.flatten().expand(len(batch["points"]), -1)

    def target(self, batch: Batch) -> Tensor:
        return batch["points"].flatten(1)

    def observation(self) -> Observation:
        return Eyes()

    def data(self, split: str) -> Batch:
        return self.samples

    def metrics(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        error = (x.unflatten(1, (-1, 2)) - batch["points"]).norm(dim=2).mean(1)
        return {"mean point error (px)": error, "5 points / box": error / 20}


class Walk(DescentModel):
    """Goes a part of the way in every step, and turns off by an angle (rad)."""

    def __init__(
        self,
        problem: Problem,
        part: float,
        angle: float,
        num_steps: int = 4,
        eyes: Observation | None = None,
    ) -> None:
        super().__init__(problem, eyes or problem.observation(), num_steps)
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        self.register_buffer("turn", part * torch.tensor(turn))

    def init_state(self, x: Tensor) -> None:
        return None

    def step(self, k: int, features: Tensor, state: Tensor | None) -> tuple[Tensor, None]:
        return (features.unflatten(1, (-1, 2)) @ self.turn).flatten(1), None


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["points"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: value[index] for name, value in self.batch.items()}


def fitted(
    problem: Problem, **settings: tuple[float, float]
) -> dict[str, tuple[DescentModel, Evaluation]]:
    models = {family: Walk(problem, part, angle) for family, (part, angle) in settings.items()}
    return {
        family: (model, evaluate(model, problem.data("test"))) for family, model in models.items()
    }


@pytest.fixture(scope="module")
def problem() -> Blobs:
    return Blobs()


@pytest.fixture(scope="module")
def families(problem: Blobs) -> dict[str, tuple[DescentModel, Evaluation]]:
    return fitted(problem, sdm=(0.3, 0.9), joint=(0.45, 0.6), mdm=(0.6, 0.4))


@pytest.fixture(scope="module")
def evaluations(families: Mapping[str, tuple[DescentModel, Evaluation]]) -> dict[str, Evaluation]:
    return {family: evaluation for family, (_, evaluation) in families.items()}


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def rendered(figure: Figure) -> np.ndarray:
    """The pixels of the saved figure, in 0..1."""
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    return imread(buffer)


def made(
    errors: Tensor, above: float = 2.0, name: str = "error", xs: Tensor | None = None
) -> Evaluation:
    return Evaluation(
        {name: errors}, xs, failure_above=above, seconds_per_sample=1e-3, batch_size=4, device="cpu"
    )


def test_ced_is_the_exact_step_curve() -> None:
    figure = plot_ced(
        {"sdm": made(torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.5, 1.5, 1.0, torch.nan]]))}
    )
    (axes,) = figure.axes
    curve = axes.get_lines()[0]
    assert curve.get_drawstyle() == "steps-post"
    assert curve.get_xdata().tolist() == [0.0, 0.5, 1.0, 1.5, 4.0]
    assert curve.get_ydata().tolist() == [0.0, 25.0, 50.0, 75.0, 75.0]
    assert labels(figure) == [
        "sdm: AUC 37.5 %, failures 25.0 %",
        "start: AUC 0.0 %, failures 100.0 %",
    ]
    assert "failure above 2" in [text.get_text() for text in axes.texts]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "error",
        "samples with at most this error (%)",
    )


def test_ced_lists_the_best_area_first_and_states_the_metric(
    evaluations: Mapping[str, Evaluation],
) -> None:
    figure = plot_ced(evaluations, "5 points / box")
    assert [label.split(":")[0] for label in labels(figure)] == ["mdm", "joint", "sdm", "start"]
    assert figure.axes[0].get_xlabel() == "error (5 points / box)"
    assert np.ptp(rendered(figure)) > 0.9


def test_ced_leaves_out_starts_that_differ() -> None:
    one, two = made(torch.ones(2, 3)), made(torch.full((2, 3), 0.5))
    assert [label.split(":")[0] for label in labels(plot_ced({"one": one, "two": two}))] == [
        "two",
        "one",
    ]


def test_a_family_keeps_its_colour_in_all_figures(evaluations: Mapping[str, Evaluation]) -> None:
    for figure in (plot_ced(evaluations), plot_steps(evaluations)):
        colours = {
            line.get_label().split(":")[0]: line.get_color() for line in figure.axes[0].get_lines()
        }
        assert [colours[family] for family in evaluations] == list(PALETTE[:3])


def test_the_colour_of_a_family_depends_on_no_other() -> None:
    names = ["sdm", "joint", "mdm", "lm", "scipy", "gn"]
    assert [color_of(name) for name in names] == list(PALETTE[:6])
    alone, beside = styles(["mdm+lm"]), styles(["of my own", "mdm", "mdm+lm"])
    assert alone["mdm+lm"].color == beside["mdm+lm"].color == color_of("mdm")
    assert beside["mdm"].dashes != beside["mdm+lm"].dashes
    assert beside["mdm"].marker != beside["mdm+lm"].marker
    assert styles(["of my own"])["of my own"] == beside["of my own"]


def test_many_families_are_told_apart() -> None:
    figure = plot_ced({f"family {number}": made(torch.ones(2, 3)) for number in range(9)})
    lines = figure.axes[0].get_lines()[:9]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


@pytest.mark.parametrize("plot", [plot_ced, plot_steps, plot_time])
@pytest.mark.parametrize(("length", "several"), [(3, True), (40, False)])
def test_a_legend_has_as_many_columns_as_fit(
    plot: Callable[..., Figure], length: int, several: bool
) -> None:
    result = made(torch.tensor([[4.0, 8.0], [1.0, 3.0]]))
    figure = plot({f"{index:0{length}d}": result for index in range(3)})
    figure.canvas.draw()
    (legend,) = figure.legends
    assert (legend._ncols > 1) == several
    assert legend.get_window_extent().width <= figure.bbox.width


def test_steps_show_mean_and_median_of_every_step() -> None:
    long = made(torch.tensor([[4.0, 4.0, 7.0], [2.0, 2.0, 5.0], [1.0, 1.0, 4.0]]))
    short = made(torch.tensor([[4.0, 4.0, 7.0], [3.0, 3.0, 3.0]]))
    figure = plot_steps({"long": long, "short": short})
    lines = figure.axes[0].get_lines()
    assert list(lines[0].get_ydata()) == [5.0, 3.0, 2.0]
    assert list(lines[1].get_ydata()) == [4.0, 2.0, 1.0]
    assert list(lines[2].get_xdata()) == [0, 1]
    assert lines[1].get_linestyle() == "--"
    assert labels(figure) == ["long: mean 2, median 1", "short: mean 3, median 3", "mean", "median"]
    assert figure.axes[0].get_yscale() == "linear"
    assert [text.get_text() for text in figure.axes[0].texts] == ["failure\nabove 2"]


def test_steps_over_decades_and_divergence_can_be_drawn() -> None:
    precise = made(torch.tensor([[1.0, 1.0, 1.0], [1e-4, 1e-4, 1e-4], [0.0, 1e-9, 1e-9]]))
    diverged = made(
        torch.tensor(
            [[1.0, 1.0, 1.0], [9.0, torch.inf, torch.nan], [torch.nan, torch.nan, torch.nan]]
        )
    )
    figure = plot_steps({"lm": precise, "raw": diverged})
    assert figure.axes[0].get_yscale() == "log"
    assert np.ptp(rendered(figure)) > 0.9
    assert np.ptp(rendered(plot_ced({"lm": precise, "raw": diverged}))) > 0.9
    assert np.ptp(rendered(plot_steps({"perfect": made(torch.zeros(3, 2))}))) > 0.9


def test_time_is_spread_over_the_steps_that_moved() -> None:
    settled = made(
        torch.tensor([[4.0, 4.0, 7.0], [2.0, 2.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    )
    figure = plot_time({"lm": settled, "stays": made(torch.ones(3, 3))})
    lines = figure.axes[0].get_lines()
    assert list(lines[0].get_xdata()) == [0.5, 1.0]  # ms
    assert list(lines[0].get_ydata()) == [2.0, 2e-6]  # a millionth of the threshold stands for zero
    assert list(lines[2].get_xdata()) == [0.5, 1.0]
    assert labels(figure) == ["lm: 0", "stays: 1"]
    assert figure.axes[0].get_xlabel() == "time per sample (ms; 4 at once)"
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    assert np.ptp(rendered(figure)) > 0.9


def test_fits_show_the_extremes_of_the_reference_for_all_families(
    problem: Blobs, families: dict
) -> None:
    figure = plot_fits(families, problem.data("test"), reference="mdm")
    assert figure is not None
    order = families["mdm"][1].error().argsort().tolist()
    rows = [("best", order[0]), ("median", order[11]), ("worst", order[-1])]
    assert [figure.axes[3 * row].get_ylabel() for row in range(3)] == [
        f"{rank} (sample {n})" for rank, n in rows
    ]
    for axes, (family, number) in zip(
        figure.axes, [(family, number) for _, number in rows for family in families]
    ):
        error = float(families[family][1].error()[number])
        assert axes.get_title() == f"{family}: {error:.3g}" + (" (failure)" if error > 2 else "")
    assert any("(failure)" in axes.get_title() for axes in figure.axes)
    assert figure.get_suptitle() == "Best, median and worst samples of mdm: mean point error (px)"
    assert labels(figure) == ["truth", "start", "path", "end"]
    assert np.ptp(rendered(figure)) > 0.9


def test_fits_draw_truth_start_path_end_and_edges_where_they_are(
    problem: Blobs, families: dict
) -> None:
    figure = plot_fits({"mdm": families["mdm"]}, problem.data("test"))
    xs = families["mdm"][1].xs.unflatten(2, (-1, 2)).double()
    number = int(families["mdm"][1].error().argmin())
    truth = problem.data("test")["points"][number]
    drawn = figure.axes[0].collections
    edges, ends = drawn[0].get_segments(), drawn[1].get_segments()
    assert len(edges) == len(ends) == len(problem.edges)
    np.testing.assert_allclose(edges[1], truth[[1, 2]])
    np.testing.assert_allclose(ends[4], xs[-1, number][[4, 0]])
    for step in range(4):
        moves = np.stack(drawn[2 + step].get_segments())
        np.testing.assert_allclose(moves, torch.stack([xs[step, number], xs[step + 1, number]], 1))
    dots = [collection.get_offsets() for collection in drawn[6:]]
    for points, expected in zip(dots, (xs[0, number], truth, xs[-1, number])):
        np.testing.assert_allclose(points, expected)


def test_a_true_point_that_is_missing_is_not_drawn(
    problem: Blobs, families: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = int(families["mdm"][1].error().argmin())
    weights = torch.ones(len(problem.data("test")["points"]), 5)
    weights[number, 3] = 0
    monkeypatch.setattr(
        problem, "target_weights", lambda batch: batch["weights"].repeat_interleave(2, 1)
    )
    samples = {**problem.data("test"), "weights": weights}
    samples["points"] = torch.where(weights.unsqueeze(2) > 0, samples["points"], -1e3)
    figure = plot_fits({"mdm": families["mdm"]}, samples)
    drawn = figure.axes[0].collections
    _, truth, _ = (np.ma.filled(dots.get_offsets(), np.nan) for dots in drawn[6:])
    assert np.isnan(truth).any(1).tolist() == [False, False, False, True, False]
    lines = [edge for edge in drawn[0].get_segments() if len(edge) == 2]
    assert len(lines) == len([edge for edge in problem.edges if 3 not in edge])
    assert np.ptp(rendered(figure)) > 0.9
    assert figure.axes[0].get_xlim()[0] > -0.6


def test_fits_keep_all_points_in_view_within_the_image(problem: Blobs, families: dict) -> None:
    figure = plot_fits(families, problem.data("test"))
    for axes in figure.axes:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert right - left == pytest.approx(bottom - top)
        assert -0.5 <= left < right <= 47.5
        assert -0.5 <= top < bottom <= 47.5
        points = np.concatenate([collection.get_offsets() for collection in axes.collections[-3:]])
        assert (points > (left, top)).all()
        assert (points < (right, bottom)).all()


def test_several_samples_of_each_rank_are_not_repeated(problem: Blobs, families: dict) -> None:
    figure = plot_fits(
        {"mdm": families["mdm"]}, problem.data("test"), each=2, metric="5 points / box"
    )
    order = families["mdm"][1].error("5 points / box").argsort().tolist()
    expected = [*order[:2], *order[11:13], *order[-2:]]
    assert [int(axes.get_ylabel().split()[-1][:-1]) for axes in figure.axes] == expected
    small = Blobs(count=2)
    figure = plot_fits(fitted(small, mdm=(0.6, 0.4)), small.data("test"), each=3)
    assert [axes.get_ylabel().split()[0] for axes in figure.axes] == ["best", "best"]
    with pytest.raises(DescentError, match="each: expected 1 or more samples, got 0"):
        plot_fits(families, problem.data("test"), each=0)


@pytest.mark.parametrize(("channels", "dtype"), [(3, torch.uint8), (2, torch.float32)])
def test_colour_float_and_data_set_samples_work(channels: int, dtype: torch.dtype) -> None:
    problem = Blobs(count=4, channels=channels, dtype=dtype)
    families = fitted(problem, mdm=(0.6, 0.4))
    figures = [
        plot_fits(families, samples)
        for samples in (problem.data("test"), Rows(problem.data("test")))
    ]
    pixels = [rendered(figure) for figure in figures]
    assert np.array_equal(*pixels)
    number = int(families["mdm"][1].error().argmin())
    shown = figures[0].axes[0].images[0].get_array()
    photo = problem.data("test")["photo"][number, 0]
    # Equal channels: their mean or luminance is the channel
    np.testing.assert_allclose(shown, 55 + 0.75 * photo, atol=1e-3)


def test_eyes_are_found_inside_other_observations_and_other_families(problem: Blobs) -> None:
    nested = Walk(problem, 0.5, 0.0, eyes=Concat(Frozen(Eyes())))
    blind = Walk(problem, 0.5, 0.0, eyes=Residuals())
    result = evaluate(blind, problem.data("test"))
    assert plot_fits({"blind": (blind, result)}, problem.data("test")) is None
    figure = plot_fits({"blind": (blind, result), "nested": (nested, result)}, problem.data("test"))
    assert len(figure.axes) == 6


def test_a_diverged_fit_can_be_drawn(problem: Blobs, families: dict) -> None:
    model, result = families["mdm"]
    xs, errors = result.xs.clone(), {name: values.clone() for name, values in result.errors.items()}
    xs[2:, 0] = torch.nan
    for values in errors.values():
        values[2:, 0] = torch.nan
    figure = plot_fits(
        {"raw": (model, Evaluation(errors, xs, 2.0, 1e-3, 4, "cpu"))}, problem.data("test")
    )
    assert figure.axes[-1].get_ylabel() == "worst (sample 0)"
    assert figure.axes[-1].get_title() == "raw: nan (failure)"
    assert np.ptp(rendered(figure)) > 0.9


def test_figures_refuse_what_does_not_belong_together(
    problem: Blobs, families: dict, evaluations: dict
) -> None:
    model, result = families["mdm"]
    others = {"mdm": result, "other": made(torch.ones(5, 24))}
    for plot in (plot_ced, plot_steps):
        with pytest.raises(
            DescentError, match="'mdm' and 'other' cannot be compared: the metrics differ"
        ):
            plot(others)
        with pytest.raises(DescentError, match="metric: expected one of"):
            plot(evaluations, "7 points")
    with pytest.raises(DescentError, match="cannot be compared: the metrics differ"):
        plot_fits(
            {family: (model, evaluation) for family, evaluation in others.items()},
            problem.data("test"),
        )
    with pytest.raises(
        DescentError,
        match=r"reference: expected one of the families \['sdm', 'joint', 'mdm'\], got 'lm'",
    ):
        plot_fits(families, problem.data("test"), reference="lm")
    with pytest.raises(
        DescentError, match="samples: expected the 24 samples of the evaluation, got 5"
    ):
        plot_fits(families, Blobs(count=5).data("test"))
    with pytest.raises(
        DescentError,
        match="evaluation of 'mdm': its parameters xs were not stored; evaluate the model again",
    ):
        plot_fits({"mdm": (model, Evaluation.from_json(result.to_json()))}, problem.data("test"))


def test_no_figure_touches_the_state_of_pyplot(
    problem: Blobs, families: dict, evaluations: dict
) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plot_ced(evaluations), plot_steps(evaluations), plot_fits(families, problem.data("test"))
    assert pyplot.get_fignums() == before
