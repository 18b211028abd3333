"""The command line ``learned-descent``: its options are the arguments of the classes that they configure."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from . import __version__
from .names import PROBLEMS

USAGE = """\
usage: learned-descent COMMAND ...

commands:
  train PROBLEM --family F --out DIR   train one family
  evaluate WEIGHTS                     measure a trained model
  compare PROBLEM [--out DIR]          train or load several families and compare them
  align PHOTO ...                      find the faces in photos, and their landmarks
  calibrate WEIGHTS                    fit the boxes and the confidence that align relies on
  inspect WEIGHTS                      show how much of the pose of a head a recurrent model remembers
  check PROBLEM                        check that a problem keeps the contract

PROBLEM is {problems}, the name of an installed plug-in, package.module:Class or file.py:Class.
Every command explains its options: learned-descent train PROBLEM --family F --help.
--config FILE.yaml gives any of them; --traceback shows where an error came from; --version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0; 1 if a contract is broken; 2 for a mistake of the user, with one message on the error stream.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    show = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help", "--version"):
        print(__version__ if "--version" in words[:1] else USAGE.format(problems=", ".join(PROBLEMS)))
        return 0
    # Only from here on PyTorch is needed, which takes seconds to import.
    from . import program
    from ._check import DescentError

    try:
        return program.run(words)
    except (DescentError, argparse.ArgumentError, OSError) as error:
        if show:
            traceback.print_exc()
        print(f"learned-descent: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("learned-descent: interrupted; --resume goes on from the last checkpoint of a training", file=sys.stderr)
        return 130
