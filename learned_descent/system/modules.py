"""Modules and files that a user names, run with what lies beside them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import final

from ..errors import DescentError


@final
class _Beside(MetaPathFinder):
    """Finds the modules that lie beside the files of users, also those that are imported later,
    within a function.

    It comes after all other finders, so a module that is installed is never hidden, and
    ``sys.path`` stays as it is.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.found: dict[str, Path] = {}

    def add(self, folder: Path, path: str) -> None:
        """Looks in ``folder`` too, for the sake of ``path``.

        Raises:
            DescentError: if a module of the same name as one there was found elsewhere, and would
                be taken for it.
        """
        folder = folder.resolve()
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        for name, home in self.found.items():
            if home != folder and name in sys.modules and PathFinder.find_spec(name, [str(folder)]):
                raise DescentError(
                    f"{path}: in {folder} lies the module {name}, and another {name} is loaded "
                    f"already, from {home}: rename one of the two"
                )
        if folder not in self.folders:
            self.folders.append(folder)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:
            return None  # a part of a package, which knows where it is
        specs = {
            folder: spec
            for folder in self.folders
            if (spec := PathFinder.find_spec(fullname, [str(folder)]))
        }
        if len(specs) > 1:
            raise ImportError(
                f"{fullname} is in each of {', '.join(map(str, specs))}: rename all but one",
                name=fullname,
            )
        for folder, spec in specs.items():
            self.found[fullname] = folder
            return spec
        return None


_BESIDE = _Beside()

_RUN: dict[tuple[Path, int, int], ModuleType] = {}
"""The files that ran, as they were: a problem, a model and a family of one file are parts of one
module."""


def import_module(module: str, name: str, what: str = "problem") -> ModuleType:
    """A module that is installed, on the path or in the current folder.

    Args:
        module: its dotted name.
        name: what the user typed, for messages.
        what: what it is to name.

    Raises:
        DescentError: if it is not there, or cannot be imported.
    """
    _BESIDE.add(Path.cwd(), name)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DescentError(
            f"{what} {name!r}: {error}; install it, put it on PYTHONPATH, or name the file: "
            "file.py:Class"
        ) from error
    except Exception as error:
        raise DescentError(
            f"{what} {name!r}: importing {module} failed with {described_error(error)}"
        ) from error


def run_file(path: Path) -> ModuleType:
    """The module that a file defines, under the name of the file, as an import would give it; it
    may import its neighbours.

    Raises:
        DescentError: if the file is not there, or does not run; if a neighbour has the name of one
            that is loaded already.
    """
    if not path.is_file():
        raise DescentError(
            f"{path}: expected a Python file, found {'a folder' if path.is_dir() else 'nothing'} "
            "there"
        )
    state = path.stat()
    key = (path.resolve(), state.st_mtime_ns, state.st_size)
    known = _RUN.get(key)
    if known is not None and sys.modules.get(known.__name__) is known:
        return known
    name = path.stem
    spec = importlib.util.spec_from_file_location(
        name if name not in sys.modules else f"_problem_{name}", path
    )
    if spec is None or spec.loader is None:
        raise DescentError(f"{path}: expected a Python file")
    _BESIDE.add(path.parent, str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(spec.name, None)
        if isinstance(error, (Exception, SystemExit)):
            raise _failed(path, error) from error
        raise
    _RUN[key] = module
    return module


def _failed(path: Path, error: BaseException) -> DescentError:
    """What went wrong while a file ran, and where."""
    if isinstance(error, SyntaxError):
        return DescentError(
            f"{error.filename or path}:{error.lineno}: syntax error: {error.msg}: "
            f"{(error.text or '').strip()}"
        )
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    hint = ""
    if isinstance(error, SystemExit):
        hint = '; what is not to run on import belongs under if __name__ == "__main__"'
    elif isinstance(error, ImportError) and (path.parent / "__init__.py").exists():
        hint = (
            "; it is part of a package: name it package.module:Class, from the folder that holds "
            "the package"
        )
    return DescentError(f"{where}: running the file failed with {described_error(error)}{hint}")


def described_error(error: BaseException) -> str:
    """The kind of an error and its message."""
    return f"{type(error).__name__}: {error}"
