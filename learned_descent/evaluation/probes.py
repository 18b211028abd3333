"""What a recurrent model remembers: linear probes on its state, and a map of its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from ..data.batches import batches, num_samples
from ..data.samples import Samples
from ..errors import DescentError, check_shape
from ..model import DescentModel, tensors_of
from ..system.progress import progress_bar
from .plots import canvas

_Rows: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_FOLDS = 3
_LEAST = 2 * _FOLDS
"""Samples of each class that a probe needs: one half to learn from, in so many folds, and one to be
tested on."""


@dataclass(frozen=True)
class Probes:
    """How well linear probes tell the class of a sample, step by step: shares of the half of the
    samples they never saw.

    Attributes:
        state: from the recurrent state after each of the ``T`` steps.
        x: from the parameters at the start and after each step, ``T + 1`` numbers.
        chance: by always naming the class that is the most frequent.
        num_tested: the number of samples that the shares are taken of.
    """

    state: tuple[float, ...]
    x: tuple[float, ...]
    chance: float
    num_tested: int


def remember(
    model: DescentModel,
    samples: Samples,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The memories ``(T, N, H)`` and the iterates ``(T + 1, N, p)`` of a recurrent model on all
    samples, on the CPU.

    Args:
        model: the model.
        samples: one batch of all samples, or a data set of single samples.
        batch_size: samples per batch.
        device: where the descent runs; the model stays there, in evaluation mode.

    Raises:
        DescentError: if the model has no memory, or what it computes is not finite.

    Example:
        >>> from learned_descent import MnemonicDescent
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> states, xs = remember(MnemonicDescent.for_problem(problem, hidden=8),
        ...     problem.data("test"))
        >>> states.shape, xs.shape
        (torch.Size([4, 41, 8]), torch.Size([5, 41, 1]))
    """
    xs, states = [], []
    model.to(device).eval()
    with (
        progress_bar(desc="descending", total=num_samples(samples), unit="sample") as progress,
        torch.inference_mode(),
    ):
        for batch in batches(samples, batch_size, device=torch.device(device)):
            done = model(batch, keep_states=True)
            memory = tensors_of(done.states)
            if not memory:
                raise DescentError(
                    f"{type(model).__name__} has no memory to look into: expected a recurrent "
                    "model, such as mdm"
                )
            xs.append(done.xs.cpu())
            states.append(
                torch.cat([part.reshape(*part.shape[:2], -1) for part in memory], 2).cpu()
            )
            progress.update(done.xs.shape[1])
    memories = torch.cat(states, 1)
    if not memories.isfinite().all():
        raise DescentError(
            "the memory of the model is not finite on these samples: its weights are of no use, "
            "train it again"
        )
    return memories, torch.cat(xs, 1)


def probe_memory(
    states: Float[Tensor, "T N H"],
    xs: Float[Tensor, "T1 N p"],
    labels: Int[Tensor, " N"],
    *,
    seed: int = 0,
) -> Probes:
    """Whether the memory of a model holds a class more plainly than the parameters do.

    A probe is a logistic regression of standardised features. It learns from one half of each
    class, where cross-validation chooses its penalty, and is tested on the other half; the halves
    are the same for all probes.

    Args:
        states: the recurrent state after each step, ``(T, N, H)``.
        xs: the parameters at the start and after each step, ``(T + 1, N, p)``.
        labels: the class of each sample, ``(N,)``.
        seed: decides which samples are in which half.

    Raises:
        DescentError: if there are fewer than two classes, or fewer than six samples of one.
        ShapeError: if the numbers of samples or steps differ.

    References:
        G. Alain and Y. Bengio. Understanding intermediate layers using linear classifier probes.
        ICLR workshop 2017.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> labels = torch.arange(40) % 2
        >>> noise = torch.randn(2, 40, 3, generator=draw)
        >>> # the state knows, the parameters do not
        >>> found = probe_memory(noise[1:] + 9 * labels[:, None], noise, labels)
        >>> found.state, max(found.x) < 0.8, found.chance
        ((1.0,), True, 0.5)
    """
    sizes = check_shape(states, "T N H", name="states")
    check_shape(xs, "T+1 N p", {**sizes, "T+1": sizes["T"] + 1}, name="xs")
    check_shape(labels, "N", sizes, name="labels")
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2 or counts.min() < _LEAST:
        raise DescentError(
            f"labels: expected two classes or more with {_LEAST} samples or more of each, got "
            f"classes of {counts.tolist()} samples; give more samples"
        )
    from sklearn.model_selection import train_test_split

    learnt, tested = train_test_split(
        np.arange(len(labels)), test_size=0.5, stratify=labels.numpy(), random_state=seed
    )
    return Probes(
        state=tuple(_accuracy(features, labels, learnt, tested) for features in states),
        x=tuple(_accuracy(features, labels, learnt, tested) for features in xs),
        chance=float(counts.max() / counts.sum()),
        num_tested=len(tested),
    )


def _accuracy(features: Tensor, labels: Tensor, learnt: _Rows, tested: _Rows) -> float:
    """The share of the ``tested`` rows that a probe names right which has learnt from the
    ``learnt`` ones.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = features.double().numpy(), labels.numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe = GridSearchCV(model, {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}, cv=_FOLDS)
    return float(probe.fit(rows[learnt], classes[learnt]).score(rows[tested], classes[tested]))


def equal_bins(
    values: Float[Tensor, " N"], bins: int
) -> tuple[Int[Tensor, " N"], Float[Tensor, " E"]]:
    """The bin of each value, of ``bins`` bins with equally many values, and the edges between the
    bins.

    Example:
        >>> equal_bins(torch.tensor([5.0, 1.0, 2.0, 9.0]), 2)
        (tensor([1, 0, 0, 1]), tensor([3.5000]))
    """
    edges = values.quantile(torch.arange(1, bins).to(values) / bins)
    return torch.bucketize(values, edges, right=True), edges


def embed_memory(states: Float[Tensor, "T N H"], *, seed: int = 0) -> Float[Tensor, "T N 2"]:
    """The t-SNE of the states of each step in the plane: near points are samples with similar
    memories.

    Args:
        states: the recurrent state after each step, ``(T, N, H)``.
        seed: the seed of the optimisation.

    Raises:
        DescentError: if there are fewer than six samples, or no two of them differ.

    References:
        L. van der Maaten and G. Hinton. Visualizing data using t-SNE. Journal of Machine Learning
        Research 9, 2008.
    """
    from sklearn.manifold import TSNE

    count = check_shape(states, "T N H", name="states")["N"]
    if count < _LEAST:
        raise DescentError(f"states: expected {_LEAST} samples or more, got {count}")
    for step, features in enumerate(states, 1):
        if (features == features[0]).all():
            raise DescentError(
                f"states: after step {step} all samples have the same one: train the model first"
            )
    made = TSNE(perplexity=min(30.0, (count - 1) / 3), random_state=seed)
    steps = progress_bar(states.cpu().double().numpy(), "t-SNE", unit="step")
    return torch.stack(
        [torch.from_numpy(made.fit_transform(features)) for features in steps]
    ).float()


def plot_memory(
    places: Float[Tensor, "T N 2"],
    values: Float[Tensor, " N"],
    label: str,
    notes: Sequence[str] | None = None,
) -> Figure:
    """The map of the states of each step, one panel per step, coloured by a property of the
    samples.

    Args:
        places: the place of each sample in each panel, ``(T, N, 2)``, such as :func:`embed_memory`
            gives.
        values: what colours the samples, ``(N,)``.
        label: the name of the colours, with their unit.
        notes: a second line for the title of each panel.

    References:
        G. Trigeorgis, P. Snape, M. Nicolaou, E. Antonakos and S. Zafeiriou. Mnemonic descent
        method: a recurrent process applied for end-to-end face alignment. CVPR 2016, figure 3.

    Example:
        >>> figure = plot_memory(torch.randn(4, 9, 2), torch.linspace(-60, 60, 9), "yaw (degrees)")
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['after step 1', 'after step 2']
    """
    sizes = check_shape(places, "T N 2", name="places")
    check_shape(values, "N", sizes, name="values")
    if notes is not None and len(notes) != len(places):
        raise DescentError(
            f"notes: expected one for each of the {len(places)} steps, got {len(notes)}"
        )
    columns = min(len(places), 4)
    rows = -(-len(places) // columns)
    figure = canvas(2.7 * columns + 0.8, 3.3 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    limit = float(values.abs().quantile(0.95)) or 1.0  # a few extremes would leave all others alike
    size = float(np.clip(4000 / sizes["N"], 1.5, 20))
    for step, (axes, points) in enumerate(zip(panels, places.cpu().numpy())):
        marks = axes.scatter(
            *points.T, c=values.cpu().numpy(), s=size, vmin=-limit, vmax=limit, linewidths=0
        )
        axes.set_title(f"after step {step + 1}" + (f"\n{notes[step]}" if notes else ""), fontsize=9)
        axes.set(xticks=[], yticks=[], box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    figure.colorbar(marks, ax=figure.axes, label=label, extend="both", shrink=0.8, pad=0.01)
    return figure
