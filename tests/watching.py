"""What a GPU would make of a piece of code, without a GPU: PyTorch's fake tensors on the device
``meta``.

They know shapes and devices, not values: an operation on tensors of two devices is refused, as on a
GPU; and whoever wants to know a value has to ask for it, which is noted.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")

ASKING = frozenset(
    (
        # The answer is on the host
        "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal",
        # Inside of CUDA's kernel
        "_linalg_check_errors", "linalg_matrix_exp", "_linalg_svd", "repeat_interleave", "bincount",
    )
)  # fmt: skip
"""Operations that wait for all that a GPU was told to do."""


@dataclass
class Seen:
    """What stalls a GPU, by where it stands.

    Attributes:
        questions: values that the host asks for.
        copies: tensors that go from one device to another, and numbers that do in a list.
    """

    questions: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)


@contextmanager
def watching() -> Iterator[Seen]:
    """Notes what stalls a GPU; every question inside is answered by 0 or False."""
    seen = Seen()
    with FakeTensorMode(allow_non_fake_inputs=True), _Lists(seen), _Operations(seen):
        yield seen


class _Lists(TorchFunctionMode):
    """Numbers of the host that are to become a tensor elsewhere."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("new_tensor", "__getitem__", "__setitem__"):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            if args[0].device == DEVICE and (
                name == "new_tensor" or any(isinstance(part, list) for part in parts)
            ):
                self.seen.copies[f"{name} at {_place()}"] += 1
        elif (
            name in ("tensor", "as_tensor")
            and torch.device(kwargs.get("device") or "cpu") == DEVICE
        ):
            self.seen.copies[f"{name} at {_place()}"] += 1
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Questions, and tensors that change the device."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        there = any(value.device == DEVICE for value in tensors)
        if name in ("index", "index_put", "index_put_"):
            self._note_index(args[0], [value for value in args[1] if value is not None])
        if there and name in ASKING:
            self.seen.questions[f"{name} at {_place()}"] += 1
            if name == "_local_scalar_dense":
                return False if args[0].dtype == torch.bool else 0
        result = func(*args, **kwargs)
        if (
            name in ("_to_copy", "copy_")
            and len({result.device, *(value.device for value in tensors if value.dim())}) > 1
        ):
            self.seen.copies[f"{name} at {_place()}"] += 1
        return result

    def _note_index(self, values: Tensor, indices: list[Tensor]) -> None:
        for index in indices:
            if index.dtype == torch.bool and DEVICE in (values.device, index.device):
                self.seen.questions[f"mask at {_place()}"] += 1
            elif index.device != values.device:
                self.seen.copies[
                    f"index on {index.device} of a tensor on {values.device} at {_place()}"
                ] += 1


def _place() -> str:
    """The line of the library, or of a test, that is being run."""
    frames = [
        frame
        for frame in traceback.extract_stack()
        if "torch" not in frame.filename and frame.filename != __file__
    ]
    own = [frame for frame in frames if "learned_descent" in frame.filename] or frames
    return f"{own[-1].filename}:{own[-1].lineno}"
