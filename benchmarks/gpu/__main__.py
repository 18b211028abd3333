"""The command line: ``run`` (the default), ``pack``, ``page``, and ``stage``, which ``run``
calls."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import faces, page, run
from .scale import Scale

HOME = Path("runs/gpu")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 1 where a stage failed."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="all stages, one after the other")
    stage = commands.add_parser("stage", help="one stage, into a part of the result")
    stage.add_argument("name", choices=run.BUDGETS)
    for command in (measure, stage):
        command.add_argument("--device", default="cuda", help="cuda (default) or cpu")
        command.add_argument("--quick", action="store_true", help="tiny sizes: to see that it runs")
        command.add_argument(
            "--data",
            type=Path,
            default=HOME / "faces.safetensors",
            help="the packed faces, if there are any",
        )
        command.add_argument(
            "--out",
            type=Path,
            default=Path(os.environ.get("OUT", HOME)),
            help="the folder of the results",
        )
    measure.add_argument("--seconds", type=float, default=480.0, help="all the time there is")
    measure.add_argument(
        "--stages", nargs="+", default=list(run.BUDGETS), choices=run.BUDGETS, help="which ones"
    )
    pack = commands.add_parser("pack", help="faces to take along")
    pack.add_argument(
        "root",
        nargs="?",
        help="a folder in the layout of 300-W; without it synthetic faces are made",
    )
    pack.add_argument("--count", type=int, default=300, help="of the faces, 110 kB each")
    pack.add_argument("--to", type=Path, default=HOME / "faces.safetensors", help="the file")
    publish = commands.add_parser("page", help="the page and the JSON of the documentation")
    publish.add_argument("folder", type=Path, help="where gpu.json is")
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0].startswith("--"):
        given = ["run", *given]
    options = parser.parse_args(given)
    if options.command == "pack":
        faces.pack(options.root, options.count, options.to)
    elif options.command == "page":
        page.publish(options.folder / "gpu.json", Path("docs"))
    elif options.command == "stage":
        run.stage(options.name, Scale(options.device, options.quick), options.data, options.out)
    else:
        return run.everything(
            options.stages,
            Scale(options.device, options.quick),
            options.data,
            options.out,
            options.seconds,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
