"""Samples that lie in files of a folder, and are read one by one where they lie."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import DescentError, check_whole
from ..files import save_tensors, write_json
from .batches import batches, fingerprint
from .samples import Parted, Samples, as_samples

SHARDS: Final = "shards.json"
"""What lists the files of a part, with the number of their samples, names and shapes."""

_OPEN: Final = 64
"""Files that are open at a time."""


class Shard(NamedTuple):
    """A file of samples.

    Attributes:
        path: a safetensors file.
        samples: their number, the length of each tensor.
        digest: of its samples.
    """

    path: Path
    samples: int
    digest: str


def write_shards(folder: str | Path, samples: Samples, *, size: int = 1024) -> None:
    """Writes samples as one part of :class:`Shards`, a file after the other: never more than one
    of these is in memory.

    Args:
        folder: one that is new or empty.
        samples: a batch, or a data set, which is read from its first sample to its last.
        size: samples of a file.

    Raises:
        DescentError: if the folder holds something, cannot be written to, or the samples are none,
            or differ in names, types or shapes.

    Example:
        >>> import tempfile, torch
        >>> folder = tempfile.mkdtemp()
        >>> write_shards(f"{folder}/part-0", {"y": torch.arange(5)}, size=2)
        >>> write_shards(f"{folder}/part-1", {"y": torch.arange(10, 14)})
        >>> shards = Shards(folder)
        >>> shards.parts(), shards[4], shards[5]
        ([range(0, 5), range(5, 9)], {'y': tensor(4)}, {'y': tensor(10)})
    """
    check_whole(size, name="size")
    place = Path(folder)
    if place.is_dir() and any(place.iterdir()):
        raise DescentError(f"{place}: expected a new folder or an empty one, it holds files")
    listed: list[dict[str, Any]] = []
    kinds: dict[str, Any] = {}
    for number, batch in enumerate(batches(as_samples(samples), size)):
        own = {name: [str(value.dtype), list(value.shape[1:])] for name, value in batch.items()}
        kinds = kinds or own
        if own != kinds:
            raise DescentError(
                f"samples from {number * size} on: expected the types and shapes of the first "
                f"ones, {kinds}, got {own}"
            )
        name = f"{number:06d}.safetensors"
        tensors = {key: value.cpu().contiguous() for key, value in batch.items()}
        save_tensors(place / name, tensors, {})
        count = len(next(iter(batch.values())))
        listed.append({"file": name, "samples": count, "digest": fingerprint(batch)})
    write_json(place / SHARDS, {"tensors": kinds, "shards": listed})


@final
class Shards(Parted):
    """Samples in safetensors files, which take no memory and need not all be on this machine.

    The folder is a part that :func:`write_shards` wrote, or holds several, a folder each, which
    may come from other machines. A batch holds as many samples of each part. With a number of ranks
    that divides the number of parts, rank ``r`` of ``R`` reads the parts ``r``, ``r + R``, ... in
    the order of their names; of the other ones its machine needs no more than ``shards.json``.
    Their number, not that of the ranks, decides what a batch is: as many ranks train what one
    would.

    Args:
        folder: the folder.

    Raises:
        DescentError: if there are no shards, a file of a part that is here is missing, a
            ``shards.json`` does not make sense, or the parts differ in names, types or shapes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        lists = [
            path
            for path in (self.folder / SHARDS, *sorted(self.folder.glob(f"*/{SHARDS}")))
            if path.is_file()
        ]
        if not lists:
            raise DescentError(
                f"{self.folder}: expected {SHARDS} in it or in the folders of its parts, found "
                "none: write_shards makes it"
            )
        read = [_listed(path) for path in lists]
        self.kinds = read[0][0]
        for path, (kinds, _) in zip(lists, read):
            if kinds != self.kinds:
                raise DescentError(
                    f"{path}: expected the tensors of {lists[0]}, {self.kinds}, got {kinds}: a "
                    "folder holds parts of one data set"
                )
        self.shards = [shards for _, shards in read]
        self.here = [_is_here(shards) for shards in self.shards]
        if not any(self.here):
            raise DescentError(
                f"{self.folder}: expected the files of at least one part, found {SHARDS} alone"
            )
        self._flat = [shard for shards in self.shards for shard in shards]
        self._ends = list(accumulate(shard.samples for shard in self._flat))
        counts = [sum(shard.samples for shard in shards) for shards in self.shards]
        self._parts = [range(end - count, end) for count, end in zip(counts, accumulate(counts))]
        self._open: Callable[[int], Any] = lru_cache(_OPEN)(self._opened)

    def parts(self) -> Sequence[range]:
        return self._parts

    def check_here(self, parts: Iterable[int]) -> None:
        missing = [self.shards[part][0].path.parent for part in parts if not self.here[part]]
        if missing:
            raise DescentError(
                f"{missing[0]}: this rank needs the samples, and its machine has {SHARDS} alone: "
                f"copy the files, or start so many ranks that they divide the {len(self.here)} "
                "parts, each where its own ones are"
            )

    def first(self) -> int:
        return self._parts[self.here.index(True)].start

    def fingerprint(self) -> str:
        listed = [[(shard.samples, shard.digest) for shard in shards] for shards in self.shards]
        return hashlib.sha256(json.dumps([self.kinds, listed]).encode()).hexdigest()[:16]

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        if not 0 <= place < len(self):
            raise IndexError(place)
        number = bisect_right(self._ends, place)
        row = place - (self._ends[number] - self._flat[number].samples)
        file = self._open(number)
        return {name: file.get_slice(name)[row] for name in self.kinds}

    def _opened(self, number: int) -> Any:
        """A file, whose content is read when it is wanted."""
        shard = self._flat[number]
        try:
            file: Any = safe_open(str(shard.path), framework="pt")
            found = {name: file.get_slice(name).get_shape() for name in list(file.keys())}
        except (OSError, SafetensorError) as error:
            raise DescentError(
                f"{shard.path}: cannot be read ({error}): copy it or write it again"
            ) from error
        wanted = {name: [shard.samples, *shape] for name, (_, shape) in self.kinds.items()}
        if found != wanted:
            raise DescentError(
                f"{shard.path}: expected tensors of the shapes {wanted}, as {SHARDS} says, got "
                f"{found}: copy it or write it again"
            )
        return file


def _listed(path: Path) -> tuple[dict[str, Any], list[Shard]]:
    """The tensors and the files of a part."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        kinds = {
            str(name): [str(kind), list(shape)] for name, (kind, shape) in about["tensors"].items()
        }
        shards = [
            Shard(path.with_name(Path(one["file"]).name), int(one["samples"]), str(one["digest"]))
            for one in about["shards"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DescentError(
            f"{path}: expected a list of shards, as write_shards makes it ({error!r})"
        ) from error
    if not shards or not kinds or any(shard.samples < 1 for shard in shards):
        raise DescentError(f"{path}: expected at least one shard, and samples in each")
    return kinds, shards


def _is_here(shards: Sequence[Shard]) -> bool:
    """Whether the files of a part are on this machine."""
    missing = [shard.path for shard in shards if not shard.path.is_file()]
    if missing and len(missing) < len(shards):
        raise DescentError(
            f"{missing[0]}: {len(missing)} of the {len(shards)} files of the part are missing: "
            "copy them, or remove the part and write it again"
        )
    return not missing
