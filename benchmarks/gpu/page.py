"""The page that shows what was measured, or says that nothing was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_descent.files import atomic_write, write_json

_HEAD = """# On a GPU

What one card makes of the library, measured by one command of at most eight minutes. It needs no
network: a part of 300-W, or synthetic faces, travel along in one file of at most 40 MB.

```bash
benchmarks/gpu.sh pack /path/to/300w  # here: the faces to take along, into runs/gpu
benchmarks/gpu.sh wheels              # here: packages that the other machine may lack
benchmarks/gpu.sh                     # there, with runs/gpu: gpu.json, gpu.md in $OUT or runs/gpu
benchmarks/gpu.sh page runs/gpu       # this page, and the JSON beside it
```

Without a card the tests run every built-in problem and family on PyTorch's fake tensors, which know
shapes and devices: they find every mix of devices, and show that no learned forward pass asks the
device for a value, and a solver does once a step. A learned model can therefore be exported by
`torch.export`, for batches of any size. A problem of your own keeps that up if its constants are
buffers and its geometry never looks into a tensor: no `.item()`, `if`, mask as an index, or list of
numbers that becomes a tensor in every call; and if it asks for the number of samples by
`x.shape[0]`, for `len(x)` makes it a constant."""

_TITLES = {
    "matrix": "The card's own matrix rate",
    "training": "Training: updates of the recipes on faces",
    "compiled": "Training through `torch.compile`",
    "ridge": "Training in closed form",
    "inference": "Fitting faces",
    "solvers": "Classical solvers",
    "suite": "The tests that touch a device",
}

_COLUMNS = {
    "updates_per_second": "updates/s", "samples_per_second": "samples/s",
    "rows_per_second": "rows/s", "tflops": "TFLOP/s",
    "memory_gb": "memory (GB)", "batch_size": "B", "first_seconds": "first updates (s)",
    "seconds": "time (s)",
}  # fmt: skip

_NOTES = {
    "training": "The share is that of the matrix rate of the same precision. FLOPs are those of "
    "products and convolutions, as "
    "PyTorch counts them; convolutions in float32 may use tf32, as PyTorch lets them. Large "
    "batches show what small ones leave "
    "unused.",
    "compiled": "The first updates include the translation.",
    "inference": "Stalls are waits of the host for the card within one fit, as CUDA reports them.",
    "solvers": "Every step asks once whether a sample still moves: a stall for each.",
}


def publish(found: Path, docs: Path) -> None:
    """Puts a result and its page into the documentation."""
    result = json.loads(found.read_text(encoding="utf-8"))
    write_json(docs / "gpu.json", result)
    atomic_write(docs / "gpu.md", lambda file: file.write_text(written(result), encoding="utf-8"))


def written(result: Mapping[str, Any] | None) -> str:
    """The page in Markdown.

    Args:
        result: what a run has written; ``None`` where there was no card.
    """
    if result is None:
        return f"{_HEAD}\n## Results\n\nNot measured: no GPU could be had yet.\n"
    facts = ", ".join(
        f"{name} {_shown(value)}"
        for name, value in result["facts"].items()
        if name not in ("device", "quick")
    )
    tried = (
        " **Tiny sizes, to see that it runs: no figure means anything.**"
        if result["facts"].get("quick")
        else ""
    )
    parts = [
        _HEAD,
        (
            f"## Results\n\nOn {result['facts'].get('device', 'a device that did not answer')} "
            f"({facts}), {result['made']}.{tried}"
        ),
    ]
    rates = {
        row["precision"]: row["tflops"] for row in _rows(result, "matrix") if row.get("tflops")
    }
    for name in _TITLES:
        if name in result["stages"]:
            parts.append(_section(name, result["stages"][name], rates))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _rows(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = result["stages"].get(name, {}).get("rows", [])
    return rows


def _section(name: str, stage: Mapping[str, Any], rates: Mapping[str, float]) -> str:
    lines = [f"### {_TITLES[name]}"]
    if stage["ended"] != "well":
        lines.append(f"This stage did not end well: {stage['ended']}.")
    rows = [_with_share(row, rates) if name != "matrix" else row for row in stage.get("rows", [])]
    lines.append(_table(rows) if rows else "Nothing was measured.")
    if name in _NOTES:
        lines.append(_NOTES[name])
    return "\n\n".join(lines)


def _with_share(row: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, Any]:
    """A row with its share of the matrix rate of its precision."""
    rate = rates.get(row.get("precision", ""))
    return (
        {**row, "share": f"{100 * row['tflops'] / rate:.1f} %"}
        if rate and row.get("tflops")
        else dict(row)
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(
        dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    )
    head: Iterable[str] = (_COLUMNS.get(name, name.replace("_", " ")) for name in columns)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(columns)]
    return "\n".join(
        [
            *lines,
            *("| " + " | ".join(_shown(row.get(name)) for name in columns) + " |" for row in rows),
        ]
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|")
