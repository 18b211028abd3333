"""Which precision the numbers of a descent have: floating point, and outside autocast where
geometry and costs need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, reduce
from typing import Any

import torch
from torch import Tensor

_DEVICES = ("cpu", "cuda", "mps", "xpu")


def autocasts(value: Tensor) -> bool:
    """Whether autocast is on where a tensor is."""
    return value.device.type in _DEVICES and torch.is_autocast_enabled(value.device.type)


@contextmanager
def outside_autocast() -> Iterator[None]:
    """What is inside is computed in the precision of its tensors: 8 bits are too few for a solver.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), outside_autocast():
        ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
        >>> product.dtype
        torch.float32
    """
    with ExitStack() as stack:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies numbers of 16 bits faster than those of 32, by AVX512-BF16
    or AMX; other processors only imitate it.

    Example:
        >>> isinstance(multiplies_bfloat16(), bool)
        True
    """
    # older versions of torch cannot tell
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def floating_like(value: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Whole numbers in the widest floating type of a batch, the default one or a wider one; others
    as they are.

    Example:
        >>> floating_like(torch.tensor([2, 1]), {"y": torch.zeros(1, dtype=torch.float64)})
        tensor([2., 1.], dtype=torch.float64)
    """
    if value.is_floating_point() or value.is_complex():
        return value
    known = (other.dtype for other in batch.values() if other.is_floating_point())
    return value.to(reduce(torch.promote_types, known, torch.get_default_dtype()))
