"""The libraries that are measured beside this one, where they are installed."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

PEERS: Mapping[str, str] = {
    "dlib": "dlib",
    "jaxopt": "jaxopt",
    "menpofit": "menpofit",
    "optimistix": "optimistix",
    "pypose": "pypose",
    "scipy": "scipy",
    "theseus-ai": "theseus",
}
"""What they are called, and what is imported."""

# One thread, as for all others; jax reads it when it is first imported
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)


def peer(name: str) -> Any:
    """The module of a peer.

    Raises:
        ImportError: if it is not installed, or does not import beside what else is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(PEERS[name])


def state(name: str) -> str:
    """The version of a peer, or why there is none, in words."""
    try:
        module = peer(name)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == PEERS[name] else f"does not import: {error}"
    except Exception as error:  # what old packages raise under new ones is anything
        return f"does not import: {' '.join(str(error).split())}"
    version: str | None = getattr(module, "__version__", None)
    return version or metadata.version(name)
