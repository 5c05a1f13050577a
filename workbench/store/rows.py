"""Stored rows as arrays: one shard, and several shards read as one. Nothing is in memory before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakSet

import numpy as np

# An open map costs a file descriptor, and a process may often have no more than 1,024 of them. So many shards stay open
# and can be read even after they were pruned; those beyond are opened again for every reading.
MAPS = 256


@dataclass(frozen=True, eq=False)
class Shard:
    """One entry of the store: `rows` (R, …), a read-only memory map, for `samples` samples.

    `failed` says of a sample, by its index, why it has no row; the others have one each, in order, so that
    R = samples - len(failed). `versions` and `created` are facts for the reader: no key depends on them.
    """

    file: Path
    offset: int = field(repr=False)
    shape: tuple[int, ...]
    dtype: np.dtype
    samples: int
    failed: Mapping[int, str]
    versions: Mapping[str, str | None] = field(repr=False)
    created: str
    held: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.held is not None:
            _HOLDING.add(self)

    @property
    def rows(self) -> np.ndarray:
        """The rows as a memory map. Raises FileNotFoundError where the entry has been removed in the meantime."""
        return self._mapped() if self.held is None else self.held

    @property
    def kept(self) -> np.ndarray:
        """The index of the sample that each row belongs to: (R,) int64."""
        return np.setdiff1d(np.arange(self.samples), np.fromiter(self.failed, np.int64, len(self.failed)))

    def opened(self) -> Shard:
        """This shard with its map held open, as long as there are few of them."""
        if len(_HOLDING) >= MAPS:
            return self
        return replace(self, held=self._mapped())

    def _mapped(self) -> np.ndarray:
        if 0 in self.shape:  # the system maps no empty range
            return np.empty(self.shape, self.dtype)
        try:
            return np.memmap(self.file, self.dtype, "r", self.offset, self.shape)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.file} was removed after it was opened (prune(), or the size cap); ask the store for it again"
            ) from error


_HOLDING: WeakSet[Shard] = WeakSet()


class Rows:
    """Several shards' rows as one array (N, …) that is read only where it is indexed.

    Takes whole numbers, slices, and arrays of whole numbers or booleans; every answer is a new array of its own, the
    order as asked for. `np.asarray(rows)` reads everything. Raises ValueError for no shards or for shards that differ in
    dtype or in the shape of a row, TypeError for a missing one.
    """

    def __init__(self, shards: Sequence[Shard]):
        self.shards = tuple(shards)
        if not self.shards:
            raise ValueError("there are no shards to join; give at least one")
        for number, shard in enumerate(self.shards):
            if not isinstance(shard, Shard):
                raise TypeError(
                    f"shard {number} is {shard!r:.80}; put() what get() has missed, and join the shards then"
                )
        self.dtype, row = _common_row(self.shards)
        self._ends = np.cumsum([shard.shape[0] for shard in self.shards])
        self.shape = (int(self._ends[-1]), *row)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Rows({self.shape}, {self.dtype}, {len(self.shards)} shards)"

    def __getitem__(self, index) -> np.ndarray:
        if isinstance(index, slice):
            return self._gathered(np.arange(*index.indices(len(self))))
        if isinstance(index, tuple):
            raise TypeError(f"Rows are indexed by rows only, not by {index!r}; read the rows first: rows[i][:, j]")
        asked = np.asarray(index)
        if asked.ndim == 0 and asked.dtype != bool:
            return self._gathered(self._checked(asked[None]))[0]
        return self._gathered(self._checked(asked))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("joining shards copies them; leave copy=False out")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _checked(self, asked: np.ndarray) -> np.ndarray:
        """Rows asked for, as indices from 0."""
        if asked.dtype == bool:
            if asked.shape != (len(self),):
                raise IndexError(f"a mask of shape {asked.shape} for {len(self):,} rows; give one boolean for each")
            return np.flatnonzero(asked)
        if asked.ndim != 1 or not (np.issubdtype(asked.dtype, np.integer) or not asked.size):
            raise IndexError(
                f"rows are asked for by whole numbers in one list, not {asked.dtype} of shape {asked.shape}"
            )
        asked = asked.astype(np.int64)
        outside = asked[(asked < -len(self)) | (asked >= len(self))]
        if len(outside):
            raise IndexError(f"row {outside[0]} is asked for; there are {len(self):,}")
        return np.where(asked < 0, asked + len(self), asked)

    def _gathered(self, asked: np.ndarray) -> np.ndarray:
        """Rows by index, each shard visited once."""
        out = np.empty((len(asked), *self.shape[1:]), self.dtype)
        home = np.searchsorted(self._ends, asked, side="right")
        order = np.argsort(home, kind="stable")
        numbers, starts = np.unique(home[order], return_index=True)
        for number, places in zip(numbers, np.split(order, starts[1:]), strict=False):
            shard = self.shards[number]
            first = self._ends[number] - shard.shape[0]
            out[places] = np.asarray(shard.rows)[asked[places] - first]
        return out


def _common_row(shards: tuple[Shard, ...]) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype and the shape of one row. A shard whose samples all failed may not have known its width."""
    with_rows = [shard for shard in shards if shard.shape[0]] or shards[:1]
    dtype, row = with_rows[0].dtype, with_rows[0].shape[1:]
    for shard in with_rows:
        if (shard.dtype, shard.shape[1:]) != (dtype, row):
            raise ValueError(
                f"shards that do not belong together: rows of {dtype} {row} and of {shard.dtype} {shard.shape[1:]}; "
                "join entries whose keys differ in their samples only"
            )
    return dtype, row
