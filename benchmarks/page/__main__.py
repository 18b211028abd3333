"""Prints one page of the library beside its peers, and stores it in ``.benchmarks``.

``python -m benchmarks.page [--only decays poses] [--rounds 5]`` measures every peer that is
installed (``see ``benchmarks/peers.txt````) on the same problems as ours, in turns, and says
what became slower since the last page that was stored on the same machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from learned_descent.errors import check_whole
from learned_descent.files import write_json, write_text
from learned_descent.provenance import provenance

from .. import command
from . import decays, floors, poses, trees
from .peers import PEERS, state
from .races import Race, run
from .written import written

CHAPTERS: Mapping[str, Callable[[int], Iterator[Race]]] = {
    "decays": decays.races,
    "poses": poses.races,
    "trees": trees.races,
    "floors": floors.races,
}
"""What makes the races of each chapter, from a seed."""


def machine() -> dict[str, Any]:
    """The processor, which tells whether two pages can be compared."""
    name = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists():
        lines = known.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return {"processor": name, "cores": os.cpu_count()}


def commit() -> str:
    """The commit that is measured, with a + where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def last_page(folder: Path, here: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last page in a folder that was measured on this machine."""
    for file in sorted(folder.glob("page-*.json"), reverse=True):
        page: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if page["machine"] == here:
            return page
    return None


def measured(
    chapters: Mapping[str, Callable[[int], Iterator[Race]]], seed: int, rounds: int
) -> Any:
    """The page as JSON."""
    races = {}
    for make in chapters.values():
        for race in make(seed):
            print(f"measuring {race.name}", flush=True)
            races[race.name] = {
                "goal": race.goal,
                "metric": race.metric,
                "note": race.note,
                "rows": run(race, rounds),
            }
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return {
        **provenance(seed, None),
        "machine": machine(),
        "commit": commit(),
        "date": now.isoformat(),
        "rounds": rounds,
        "peers": {"torch": torch.__version__, **{name: state(name) for name in PEERS}},
        "races": races,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(".benchmarks"), help="the folder")
    parser.add_argument("--only", nargs="+", choices=[*CHAPTERS], default=[*CHAPTERS])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each method")
    parser.add_argument("--seed", type=int, default=0, help="draws all problems")
    arguments = parser.parse_args()
    check_whole(arguments.rounds, name="--rounds")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # those of peers under newer versions of what they need
    page = measured(
        {name: CHAPTERS[name] for name in arguments.only}, arguments.seed, arguments.rounds
    )
    text = written(page, last_page(arguments.out, page["machine"]))
    file = arguments.out / f"page-{page['date'].replace(':', '')}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(file.with_suffix(".json"), page)
    write_text(file.with_suffix(".md"), text)
    print(f"\n{text}\n{file}.md")


if __name__ == "__main__":
    command(main)
