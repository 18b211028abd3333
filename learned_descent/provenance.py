"""Where a result comes from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from . import __version__
from .files import plain


def provenance(seed: int | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a result was made with: seed, settings, versions, and the machine."""
    return {
        "seed": seed,
        "settings": plain(settings),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "learned_descent": __version__,
        },
        "machine": {
            "device": torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }
