"""What a run may replace, and what it may go on from: told before anything is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from ..checkpoint import read_description
from ..errors import DescentError
from ..files import atomic_write, plain
from ..system.lock import main_rank

_MEASURING = {"split", "batch_size", "device", "families", "seeds"}
"""Settings of a command that say what is measured after the training, and on which families; the
trainings of several seeds have settings of their own."""
_PLACE = {"accelerator", "compile", "root", "boxes"}
"""Settings that say where a training runs and finds its data, whose content the checkpoint knows by
a fingerprint."""


def check_replaces(
    products: Mapping[Path, Sequence[Path]], *, resume: bool, overwrite: bool
) -> None:
    """Refuses to replace what is finished or begun, and to go on where there is nothing to go on
    from.

    Args:
        products: the files that the run will write; each with the checkpoints of its training, or
            none for one that can be made again from the start.
        resume: whether the run goes on.
        overwrite: whether it may replace what is there.

    Raises:
        DescentError: with the ways out.
    """
    if resume and overwrite:
        raise DescentError(
            "--resume, --overwrite: expected one of them: go on with what is there, or replace it"
        )
    for product, checkpoints in products.items():
        for file in (product, *checkpoints):
            if not resume and not overwrite and file.exists():
                raise DescentError(
                    f"{file}: is there already: give another --out, --resume to go on, or "
                    "--overwrite to replace it"
                )
        if not resume or not checkpoints or any(checkpoint.exists() for checkpoint in checkpoints):
            continue
        if product.exists():
            raise DescentError(
                f"{product}: is there already, and no {checkpoints[-1]} to go on from: give "
                "another --out, or --overwrite to train anew"
            )
        if main_rank():
            tqdm.write(
                f"{checkpoints[-1]}: is not there: the training starts at its beginning",
                file=sys.stderr,
            )


def check_output(path: Path, entries: Collection[str], *, source: Path, overwrite: bool) -> None:
    """Refuses to replace a file by results, unless it holds earlier results of the same kind.

    Args:
        path: the JSON file that is to be written.
        entries: the entries by which results of this kind are known.
        source: the file that is read, which is never replaced.
        overwrite: whether another file may be replaced.
    """
    if path.resolve() == source.resolve():
        raise DescentError(f"--output {path}: expected another file than the one that is read")
    if overwrite or not path.exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not set(entries) <= found.keys():
        raise DescentError(
            f"{path}: is there already, and not what this command has written: give another "
            "--output, or --overwrite to replace it"
        )


def check_settings(path: Path, settings: Mapping[str, Any] | None) -> None:
    """Refuses to go on with a run under other settings than its own.

    Args:
        path: the settings that the run has written, if it came so far.
        settings: those to go on with.

    Raises:
        DescentError: if one differs that has to do with the training.
    """
    if not path.exists():
        return
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DescentError(
            f"{path}: cannot resume: expected the settings of the run, could not read them: {error}"
        ) from error
    wanted = plain(settings)
    skipped = _MEASURING & wanted.keys()
    if not isinstance(stored, dict):
        raise DescentError(
            f"{path}: cannot resume: expected the settings of the run, got {type(stored).__name__}"
        )
    for name, old, new in _differences(stored, wanted, skipped):
        raise DescentError(
            f"{path}: cannot resume: the run was started with {name}={old!r}, this command has "
            f"{new!r}; give the settings of the run, another --out, or --overwrite to start it anew"
        )


def check_data(path: Path, fingerprint: str) -> None:
    """Refuses to replace weights by such of a training on other data.

    Args:
        path: the weights, if there are any.
        fingerprint: of the training data.
    """
    if path.exists():
        training = read_description(path).get("training") or {}
        stored = training.get("data", {}).get("train", fingerprint)
        if stored != fingerprint:
            raise DescentError(
                f"{path}: cannot resume: was trained on the data {stored}, this command has "
                f"{fingerprint}; give the data of the run, another --out, or --overwrite to start "
                "it anew"
            )


def begin(path: Path, settings: Mapping[str, Any] | None, replaced: Collection[Path] = ()) -> None:
    """The first thing that a run writes, when nothing can refuse it any more: its settings.

    Args:
        path: the file of the settings.
        settings: the settings.
        replaced: checkpoints and logs that are to go, for they belong to other settings.
    """
    if not main_rank():
        return
    for file in replaced:
        file.unlink(missing_ok=True)
    text = yaml.safe_dump(plain(settings), sort_keys=False)
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def telling(files: Iterable[Path]) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends the block, what was raised says which of the files are there to
    go on from.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = [str(file) for file in files if file.exists()]
        if not kept:
            raise type(stop)("no checkpoint was written yet") from stop
        raise type(stop)(
            f"kept: {', '.join(kept)}; --resume goes on from the last checkpoint"
        ) from stop


def _differences(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], skipped: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The settings that both have and that differ: name, stored and wanted value."""
    for name in stored.keys() & wanted.keys() - skipped - _PLACE:
        old, new = stored[name], wanted[name]
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, (), f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new
