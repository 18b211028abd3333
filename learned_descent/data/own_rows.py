"""Random draws of a batch that several ranks share out: each draws all of it, and keeps its
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode

_OF_A_SIZE: Final = frozenset({torch.rand, torch.randn, torch.randint})

_OF_TENSORS: Final = frozenset(
    {
        *(torch.normal, torch.bernoulli, torch.poisson, torch.multinomial),
        *(torch.rand_like, torch.randn_like, torch.randint_like),
        *(F.dropout, F.alpha_dropout, F.feature_alpha_dropout),
        *(F.dropout1d, F.dropout2d, F.dropout3d),
        *(Tensor.bernoulli, Tensor.multinomial),
    }
)

_IN_PLACE: Final = frozenset(
    {
        *(Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.random_),
        *(Tensor.exponential_, Tensor.log_normal_, Tensor.cauchy_, Tensor.geometric_),
    }
)

_active: list[OwnRows] = []
"""Who is asked where rows are chosen by what was drawn: the last one."""


@final
class OwnRows(TorchFunctionMode):
    """Where it is active, what PyTorch draws for rows of a batch is what it draws for them within
    the whole batch: as many ranks draw what one would.

    Every draw whose first axis has the length of the own rows is made for all rows, from a
    generator that is seeded alike on all ranks, and the others are left out. So a problem need not
    know of ranks; what it draws once for a batch, or for another number of rows, all ranks draw
    alike. Only the drawing of numbers is done for all: it costs less than what is done with them.

    Args:
        rows: the places of the own rows in the whole batch.
        total: the number of rows of the whole batch.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> whole = torch.rand(5, 2, generator=draw)
        >>> with OwnRows(range(1, 5, 2), 5):
        ...     own = torch.rand(2, 2, generator=draw.manual_seed(0))
        >>> torch.equal(own, whole[1::2])
        True
    """

    def __init__(self, rows: Sequence[int], total: int) -> None:
        super().__init__()
        self.rows, self.total = torch.tensor(rows), total

    def __enter__(self) -> OwnRows:
        _active.append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _active.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _OF_A_SIZE:
            return self._sized(func, list(args), named)
        if func in _OF_TENSORS and any(map(self._is_own, (*args, *named.values()))):
            wide = {name: self._widened(value) for name, value in named.items()}
            return self._kept(func(*map(self._widened, args), **wide))
        if func in _IN_PLACE and self._is_own(args[0]):
            drawn = self._widened(args[0].detach())
            func(drawn, *map(self._widened, args[1:]), **named)
            return args[0].copy_(self._kept(drawn))
        return func(*args, **named)

    def _sized(self, func: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> Any:
        """Draws of numbers of a size, which comes by name, as a tuple or number by number."""
        if "size" in named:
            size = tuple(named.pop("size"))
        elif args and isinstance(args[-1], Sequence):
            size = tuple(args.pop())
        else:
            size, args = tuple(args), []
        if not size or size[0] != len(self.rows):
            return func(*args, size, **named)
        return self._kept(func(*args, (self.total, *size[1:]), **named))

    def _is_own(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.shape[:1] == self.rows.shape

    def _widened(self, value: Any) -> Any:
        """A tensor of the own rows with other ones between them, whatever those hold."""
        if not self._is_own(value):
            return value
        places = torch.zeros(self.total, dtype=torch.long)
        places[self.rows] = torch.arange(len(self.rows))
        return value[places.to(value.device)]

    def _kept(self, whole: Tensor) -> Tensor:
        return whole[self.rows.to(whole.device)]


def change_some(
    rows: Tensor, share: float, generator: Generator, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Changes a share of the rows, drawn at random, and spends no time on the others.

    Args:
        rows: ``(B, ...)``.
        share: the share that is changed.
        generator: draws which, where the rows are.
        change: what becomes of those that are chosen, ``(k, ...)``; what it draws for one, too,
            depends on its place in the whole batch alone.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> change_some(torch.zeros(6), 0.5, draw, lambda chosen: chosen + 1)
        tensor([1., 0., 1., 1., 1., 0.])
    """
    ranks = _active[-1] if _active else None
    total = len(rows) if ranks is None else ranks.total
    some = torch.rand(total, generator=generator, device=rows.device) < share
    own = some if ranks is None else some[ranks.rows.to(some.device)]
    chosen = own.nonzero().squeeze(1)
    if ranks is None:
        return rows.index_copy(0, chosen, change(rows[chosen])) if len(chosen) else rows
    places = (some.cumsum(0) - 1).cpu()[ranks.rows][own.cpu()]
    count = int(some.sum())
    if not count:
        return rows
    outer = ranks.rows, ranks.total
    # With none of its own a rank still draws for those of others, that what comes next is alike
    ranks.rows, ranks.total = (places, count) if len(chosen) else (torch.tensor([0]), count)
    try:
        changed = change(rows[chosen] if len(chosen) else rows[:1])
    finally:
        ranks.rows, ranks.total = outer
    return rows.index_copy(0, chosen, changed) if len(chosen) else rows
