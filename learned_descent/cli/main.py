"""The command line ``learned-descent``: its options are the arguments of the classes that they
configure.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from .. import __version__
from ..names import PROBLEMS
from ..signals import Terminated, heard, sigterm_ends

USAGE = """\
usage: learned-descent COMMAND ...

commands:
  show PROBLEM                         draw samples with truth, start and box, before any training
  suspects PROBLEM                     name labels that look wrong, before any training
  convert LABELS --to F --output FILE  write labels in another format or markup
  train PROBLEM --family F --out DIR   train one family
  update WEIGHTS --out DIR             go on training incremental weights with new samples
  evaluate WEIGHTS                     measure a trained model
  compare PROBLEM [--out DIR]          train or load several families and compare them
  table RUN ...                        join the results of several comparisons into one table
  align PHOTO ...                      find faces or other objects in photos, and their landmarks
  track VIDEO                          follow faces or other objects through a video
  calibrate WEIGHTS                    fit the boxes and the confidence that align relies on
  export WEIGHTS                       write an ONNX file, which runs without this library
  inspect WEIGHTS                      show how much of a head's pose a recurrent model remembers
  check PROBLEM                        check that a problem keeps the contract

PROBLEM is {problems}, the name of an installed plug-in, package.module:Class or file.py:Class.
Every command explains its options: learned-descent train PROBLEM --family F --help.
--config FILE.yaml gives any of them; --traceback shows where an error came from; --version."""

_PATIENCE = 5.0
"""The seconds that a failing rank leaves to the first one to say why, and to whoever started both
to end it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0; 1 if a contract is broken; 2 for a mistake of the user, with one message
        on the error stream; 130 and 143 where Ctrl-C or SIGTERM ended the command, with a message
        of what is kept.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    show = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help", "--version"):
        print(
            __version__ if "--version" in words[:1] else USAGE.format(problems=", ".join(PROBLEMS))
        )
        return 0
    # Only from here on PyTorch is needed, which takes seconds to import.
    from ..errors import DescentError
    from ..system.lock import main_rank, several_ranks
    from . import program

    first = main_rank()
    try:
        with heard(), sigterm_ends() if first else nullcontext():  # other ranks just end
            return program.run(words)
    except (DescentError, argparse.ArgumentError, OSError) as error:
        if show:
            traceback.print_exc()
        return _ended(f"error: {error}", 2, first)
    except RuntimeError:
        # A rank that loses another one fails too; that one says why
        if several_ranks() and not _outlived():
            return 1
        raise
    except Terminated as stop:
        return _ended("; ".join(("terminated", *map(str, stop.args))), 128 + signal.SIGTERM, first)
    except KeyboardInterrupt as stop:
        return _ended("; ".join(("interrupted", *map(str, stop.args))), 128 + signal.SIGINT, first)


def _ended(text: str, code: int, first: bool) -> int:
    """Says once for all ranks why a command ends: the first one does, and another one only where
    that keeps silent.
    """
    from tqdm import tqdm

    from ..system.text import printable

    if first or _outlived():
        # Not into a line that a bar has begun
        tqdm.write(printable(f"learned-descent: {text}"), file=sys.stderr)
    return code


def _outlived() -> bool:
    """Whether a while passes in which nobody ends this rank, as they do when another one has said
    what is wrong.
    """
    parent = os.getppid()
    time.sleep(_PATIENCE)
    return os.getppid() == parent
