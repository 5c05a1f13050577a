"""The store: entries by content key in a folder, written whole, checked when read, explained when missing."""

from __future__ import annotations

import errno
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from workbench.records import human_bytes
from workbench.store.checks import checked_failed, checked_limit, checked_rows
from workbench.store.entry import MANIFEST, VERIFIED, BrokenEntryError, read_entry, write_entry
from workbench.store.folders import (
    existing,
    folder_bytes,
    remove_folder,
    store_place,
    sweep,
    sync_folder,
    temporary_folder,
)
from workbench.store.keys import ShardKey
from workbench.store.report import StoreReport, explain_miss, summarise
from workbench.store.rows import Shard

BROKEN = ".broken-"
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EmbeddingStore:
    """Embeddings kept by content, in folders `root/<2 hex digits>/<key>/`; many processes may share one.

    `root` is a folder, else the environment variable WORKBENCH_STORE, else the user's cache folder. It is made by the
    first put(). With `max_bytes`, each put() removes the least recently used other entries until the store is no larger.
    Opening a store removes what killed processes left in it. Raises NotADirectoryError where the place is no folder.
    """

    def __init__(self, root: str | os.PathLike | None = None, *, max_bytes: int | None = None):
        self.root = store_place(root)
        self.max_bytes = checked_limit("max_bytes", max_bytes)
        self._read_in_full: dict[str, str] = {}  # for stores where verified.json cannot be written
        sweep(self.root)

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.root)!r}, max_bytes={self.max_bytes})"

    # Reading ---------------------------------------------------------------------------------------------------------

    def get(self, key: ShardKey, *, verify: bool = False) -> Shard | None:
        """The entry of a key, or None; `why_missing` says why.

        Manifest, size and headers are checked each time; all bytes the first time, after a change of size or time, and
        with `verify=True`. An entry that fails is a miss: a warning says what is wrong, and it is moved aside, so that
        the key can be written again. Raises nothing for what is on the disk.
        """
        folder = self._folder(key)
        for last_look in (False, True):  # another process may replace the entry between two files of it
            try:
                return self._opened(folder, key, verify) if folder.is_dir() else None
            except BrokenEntryError as error:
                if last_look:
                    self._put_aside(folder, str(error))
            except FileNotFoundError:
                continue
            except OSError as error:
                _warn(f"the entry {folder} cannot be read ({error}); it stays there and counts as missing")
                break
        return None

    def __contains__(self, key: ShardKey) -> bool:
        """Whether there is an entry of that name; only get() checks that it is whole."""
        return self._folder(key).is_dir()

    def _folder(self, key: ShardKey) -> Path:
        if not isinstance(key, ShardKey):
            raise TypeError(f"{key!r:.80} is no key; give a workbench.store.ShardKey(facts, samples)")
        return self.root / key.hex[:2] / key.hex

    def _opened(self, folder: Path, key: ShardKey, verify: bool) -> Shard:
        entry, note = read_entry(folder, key), folder / VERIFIED
        known = self._read_in_full.get(folder.name) == entry.seal or _text(note) == entry.seal
        if verify or not known:
            entry.verify()
        self._read_in_full[folder.name] = entry.seal
        with suppress(OSError):  # advisory, and a store may be read-only; the note's own time is that of the last use
            if known and note.is_file():
                os.utime(note)
            else:
                note.write_text(entry.seal)
        return entry.shard()

    def _put_aside(self, folder: Path, reason: str) -> None:
        """Out of the way, but kept until the key is written again or prune(): perhaps somebody can use it."""
        aside = self.root / f"{BROKEN}{folder.name}-{time.time_ns()}"
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return  # another process removed it, or was faster
        except OSError as error:
            _warn(f"the entry {folder} is broken: {reason}; it counts as missing and stays there ({error.strerror})")
            return
        with suppress(OSError):
            (aside / "reason.txt").write_text(reason, encoding="utf-8")
        _warn(f"the entry {folder} is broken: {reason}; it counts as missing and was moved to {aside.name}")

    # Writing ---------------------------------------------------------------------------------------------------------

    def put(self, key: ShardKey, rows: np.ndarray, *, failed: Mapping[int, str] | None = None) -> Shard:
        """Keep the rows (R, …) of a key's samples, float32, float16 or bool, one for each sample not in `failed`.

        `failed` maps the index of a sample to the reason why it has no row. An entry that is there and whole stays, and
        is what is returned. bfloat16, which NumPy lacks, is kept as float32. Raises TypeError for another array,
        ValueError for rows that do not fit the samples, hold NaN or infinities (damage must not be kept), or are larger
        than `max_bytes`, and OSError where the place is full or cannot be written; nothing half-written stays.
        """
        home = self._folder(key)
        failed = checked_failed(failed, len(key.samples))
        rows = checked_rows(key, rows, failed)
        there = self.get(key)
        if there is not None:
            return there
        self._check_cap(rows.nbytes)
        with self._said_clearly(rows.nbytes + len(key.listing)):
            sweep(self.root)
            with temporary_folder(self.root) as folder:
                write_entry(folder, key, rows, failed)
                self._check_cap(folder_bytes(folder))
                shard = self._settle(folder, home, key)
        self._tidy(key)
        return shard

    def _settle(self, folder: Path, home: Path, key: ShardKey) -> Shard:
        """Give a finished entry its name, unless another process has been faster and its entry is whole."""
        shard = read_entry(folder, key).shard(home)
        home.parent.mkdir(exist_ok=True)
        for _ in range(5):
            try:
                folder.rename(home)  # a folder never replaces one that holds anything
            except OSError as error:
                if error.errno not in _OCCUPIED:
                    raise
            else:
                sync_folder(home.parent)
                sync_folder(self.root)
                return shard
            theirs = self.get(key)  # moves it aside if it is broken
            if theirs is not None:
                return theirs
        raise OSError(errno.EEXIST, f"{home} is broken and cannot be moved aside; remove it by hand")

    def _tidy(self, key: ShardKey) -> None:
        """After a put: older broken copies, and the cap. The entry is safe, so trouble here is only said."""
        try:
            for aside in self.root.glob(f"{BROKEN}{key.hex}-*"):
                remove_folder(self.root, aside)
            if self.max_bytes is not None:
                self._shrink(self.max_bytes, spare=key.hex)
        except OSError as error:
            _warn(f"the store in {self.root} could not be made smaller ({error}); check who may write there")

    def _check_cap(self, size: int) -> None:
        if self.max_bytes is not None and size > self.max_bytes:
            raise ValueError(
                f"the entry takes {human_bytes(size)}, the whole store may take {human_bytes(self.max_bytes)}; raise "
                "max_bytes, or write smaller shards"
            )

    @contextmanager
    def _said_clearly(self, need: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, self._trouble(error, need)) from error

    def _trouble(self, error: OSError, need: int) -> str:
        nothing = f"{human_bytes(need)} could not be kept in {self.root}: {error.strerror}"
        other = "another place (root=, or the environment variable WORKBENCH_STORE)"
        if error.errno not in _FULL:
            return f"{nothing}; check who may write there, or choose {other}"
        limit = "; the limit is on the size of one file (ulimit -f)" if error.errno == errno.EFBIG else ""
        free = human_bytes(shutil.disk_usage(existing(self.root)).free)
        return f"{nothing} ({free} free{limit}). What was stored before is whole. Make room with prune(), or choose {other}"

    # Housekeeping ----------------------------------------------------------------------------------------------------

    def why_missing(self, key: ShardKey) -> str:
        """Why get() finds nothing, as a sentence: compares the key with what is stored."""
        folder = self._folder(key)
        if folder.is_dir():
            try:
                read_entry(folder, key)
            except (BrokenEntryError, OSError) as error:
                return f"the entry is there, but broken: {error}"
            return "nothing is missing: the entry is there"
        aside = sorted(self.root.glob(f"{BROKEN}{key.hex}-*"))
        if aside:
            return f"the entry was broken ({_text(aside[-1] / 'reason.txt') or 'no reason noted'}) and was moved aside"
        return explain_miss(key, self._folders(), self.root)

    def describe(self) -> StoreReport:
        """What the store holds, by groups of equal facts. Sizes and headers are checked, nothing is moved."""
        return summarise(self._folders(), self._asides(), self.root, self.max_bytes, used=_used)

    def prune(self, max_bytes: int | None = None, unused_days: float | None = None) -> int:
        """Remove entries and return the bytes freed.

        Always goes: what is broken, and what killed processes left. Then what nobody has read for `unused_days`, then the
        least recently used until no more than `max_bytes` are left (0 empties the store). What another process has mapped
        stays readable there. Raises OSError where an entry cannot be removed.
        """
        max_bytes = checked_limit("max_bytes", max_bytes)
        if unused_days is not None and not unused_days >= 0:
            raise ValueError(f"unused_days is {unused_days!r}; give a number of days from 0")
        freed = sweep(self.root) + sum(remove_folder(self.root, folder) for folder in self._broken())
        if unused_days is not None:
            before = time.time() - 86400 * unused_days
            freed += sum(remove_folder(self.root, folder) for folder in self._folders() if _used(folder) < before)
        return freed if max_bytes is None else freed + self._shrink(max_bytes)

    def _shrink(self, max_bytes: int, spare: str = "") -> int:
        """Remove what is broken, then the least recently used entries, until the rest is small enough."""
        sizes = {folder: folder_bytes(folder) for folder in (*self._asides(), *sorted(self._folders(), key=_used))}
        total, freed = sum(sizes.values()), 0
        for folder, size in sizes.items():
            if total <= max_bytes:
                break
            if folder.name != spare:
                freed += remove_folder(self.root, folder)
                total -= size
        return freed

    def _folders(self) -> list[Path]:
        return [folder for folder in self.root.glob("[0-9a-f][0-9a-f]/*") if len(folder.name) == 64]

    def _asides(self) -> list[Path]:
        return sorted(self.root.glob(f"{BROKEN}*"))

    def _broken(self) -> list[Path]:
        def whole(folder: Path) -> bool:
            with suppress(BrokenEntryError):
                return bool(read_entry(folder))
            return False

        return [*self._asides(), *(folder for folder in self._folders() if not whole(folder))]


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _used(folder: Path) -> float:
    """When an entry was last read or written, in seconds of the epoch; 0 where it is gone."""
    for name in (VERIFIED, MANIFEST):
        with suppress(OSError):
            return (folder / name).stat().st_mtime
    return 0.0


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
