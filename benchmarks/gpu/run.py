"""The stages one after the other, each in a process of its own with a time of its own; what one has
measured is kept."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from learned_descent.files import atomic_write, write_json

from . import page, stages
from .process import bounded
from .scale import Scale

BUDGETS = {
    "matrix": 30,
    "training": 90,
    "ridge": 40,
    "inference": 70,
    "solvers": 60,
    "suite": 160,
    "compiled": 200,
}
"""Seconds for each stage at most, the start of its process included; the most needed stages come
first."""


def everything(names: Sequence[str], scale: Scale, data: Path, out: Path, seconds: float) -> int:
    """Runs stages until the time is over; returns 1 if one did not end well."""
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stages": {},
    }
    ends = time.monotonic() + seconds
    for name in names:
        left = min(BUDGETS[name], ends - time.monotonic() - 3)
        begun = time.monotonic()
        if left < 5:
            ended = "no time was left"
        elif scale.quick:
            ended = _tried(name, scale, data, out)
        else:
            ended = _isolated(name, scale, data, out, left)
        part = _part(out, name)
        kept = json.loads(part.read_text()) if part.exists() else {}
        result["facts"] = kept.pop("facts", result.get("facts", {}))
        result["stages"][name] = {"ended": ended, "seconds": time.monotonic() - begun, **kept}
        part.unlink(missing_ok=True)
        print(f"{name}: {ended} after {time.monotonic() - begun:.0f} s")
        write_json(out / "gpu.json", result)
        text = page.written(result)
        atomic_write(
            out / "gpu.md", lambda file, text=text: file.write_text(text, encoding="utf-8")
        )
    return int(any(found["ended"] != "well" for found in result["stages"].values()))


def stage(name: str, scale: Scale, data: Path, out: Path) -> None:
    """One stage; every row that it measures is written at once."""
    rows: list[dict[str, Any]] = []
    for row in stages.STAGES[name](scale, data, out):
        rows.append(row)
        write_json(_part(out, name), {"facts": scale.facts(), "rows": rows})


def _part(out: Path, name: str) -> Path:
    return out / f"part-{name}.json"


def _tried(name: str, scale: Scale, data: Path, out: Path) -> str:
    """A stage in this process: how it ended."""
    try:
        stage(name, scale, data, out)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return "well"


def _isolated(name: str, scale: Scale, data: Path, out: Path, seconds: float) -> str:
    """A stage in a process of its own: how it ended."""
    command = [sys.executable, "-m", "benchmarks.gpu", "stage", name, "--device", scale.name]
    return bounded([*command, "--data", str(data), "--out", str(out)], seconds)
