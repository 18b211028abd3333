"""Tables for papers and for other programs: LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from ..system.text import number
from .evaluation import Evaluation
from .intervals import against_best, estimates
from .tables import Columns, Entry, chance, checked, entries, legend, measured_on

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u00b1": r"$\pm$",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{char: f"{{{char}}}" for char in "[]*"},  # an argument after the end of a row
}


def escaped(text: str) -> str:
    r"""A text that LaTeX prints as it is.

    Example:
        >>> escaped("my_family 100% {a}")
        'my\\_family 100\\% \\{a\\}'
    """
    return "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))


def latex_table(
    evaluations: Mapping[str, Evaluation],
    columns: Columns | None = None,
    *,
    metrics: Sequence[str] | None = None,
) -> str:
    r"""A LaTeX table with one row per family, for the package ``booktabs``: each figure with its
    95 % interval below, the best of a column in bold, and the test against the best.

    A comment says what belongs into the caption.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        columns: further columns.
        metrics: the metrics to show; all by default.

    Raises:
        DescentError: as :func:`~learned_descent.table` does.

    Example:
        >>> import torch
        >>> errors = {"error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> print(latex_table({"my_sdm": sdm}))
        % \usepackage{booktabs}
        % Caption: 2 samples; AUC up to, and failures above, an error of 2; intervals over samples
        (bootstrap, 2,000 draws; failures: Wilson)
        \begin{tabular}{lrrrr}
        \toprule
        & \multicolumn{4}{c}{error (px)} \\
        \cmidrule(lr){2-5}
        family & mean & median & AUC \% & fail. \% \\
        \midrule
        my\_sdm & 2.00 & 2.00 & 25.00 & 50.00 \\
        & {\scriptsize [1.00, 3.00]} & {\scriptsize [1.00, 3.00]} & {\scriptsize [0.00, 50.00]} &
          {\scriptsize [9.45, 90.55]} \\
        \bottomrule
        \end{tabular}
    """
    names, columns = checked(evaluations, columns, metrics)
    test = against_best(evaluations, names[0])
    grid = [row for name in names for row in entries(evaluations, name).items()]
    further = {
        title: [number(values.get(family, "-")) for family in evaluations]
        for title, values in columns.items()
    }
    if test.p:
        further = {"p": [chance(test.p.get(family)) for family in evaluations], **further}
    heads = ["family", *(title for title, _ in grid), *further]
    spans = "".join(f" & \\multicolumn{{4}}{{c}}{{{escaped(name)}}}" for name in names)
    rules = (f"\\cmidrule(lr){{{2 + 4 * place}-{5 + 4 * place}}}" for place in range(len(names)))
    lines = [
        "% \\usepackage{booktabs}",
        f"% Caption: {escaped(f'{measured_on(evaluations)}; {legend(evaluations, test)}')}",
        f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        "\\toprule",
        f"{spans}{' &' * len(further)} \\\\".strip(),
        " ".join(rules),
        f"{' & '.join(map(escaped, heads))} \\\\",
        "\\midrule",
    ]
    for place, family in enumerate(evaluations):
        own = [column[place] for _, column in grid]
        ends = [escaped(column[place]) for column in further.values()]
        lines.append(f"{' & '.join([escaped(family), *map(_bold, own), *ends])} \\\\")
        lines.append(f"{' & '.join(['', *map(_below, own)])}{' &' * len(ends)} \\\\".strip())
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _bold(entry: Entry) -> str:
    return f"\\textbf{{{entry.text}}}" if entry.best else entry.text


def _below(entry: Entry) -> str:
    """Interval and spread of a figure, small."""
    parts = [entry.interval, entry.spread and f"$\\pm$ {entry.spread}"]
    shown = " ".join(filter(None, parts))
    return f"{{\\scriptsize {shown}}}" if shown else ""


def csv_table(
    evaluations: Mapping[str, Evaluation],
    columns: Columns | None = None,
    *,
    metrics: Sequence[str] | None = None,
) -> str:
    """A table for other programs, with one row per family and metric: every figure in full with the
    ends of its 95 % interval and its standard deviation over trainings, and the test against the
    best. Rates and areas are in 0..1; what there is not is empty.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        columns: further columns.
        metrics: the metrics to show; all by default.

    Raises:
        DescentError: as :func:`~learned_descent.table` does.

    Example:
        >>> import torch
        >>> errors = {"error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> for line in csv_table({"sdm": sdm}).splitlines():
        ...     print(line[:58])
        family,metric,samples,trainings,mean,mean_low,mean_high,me
        sdm,error (px),2,1,2.0,1.0,3.0,,2.0,1.0,3.0,,0.25,0.0,0.5,
    """
    names, columns = checked(evaluations, columns, metrics)
    rows: list[dict[str, object]] = []
    for metric in names:
        test = against_best(evaluations, metric)
        for family, result in evaluations.items():
            row: dict[str, object] = {
                "family": family,
                "metric": metric,
                "samples": result.num_samples,
                "trainings": result.trainings,
            }
            for figure, estimate in estimates(result, metric).items():
                for end, value in zip(("", "_low", "_high", "_sd"), estimate):
                    known = value is not None and not math.isnan(value)
                    row[f"{figure}{end}"] = value if known else None
            row["p"] = test.p.get(family)
            rows.append(row | {title: values.get(family) for title, values in columns.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
