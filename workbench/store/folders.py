"""Folders that arrive whole and leave whole, and what is left of those whose process was killed on the way."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

TEMPORARY = ".tmp-"
_DAY = 86400


def store_place(root: str | os.PathLike | None) -> Path:
    """The folder asked for, else that of WORKBENCH_STORE, else the user's cache; it need not exist yet."""
    if root is None:
        root = os.environ.get("WORKBENCH_STORE") or _cache()
    root = Path(root).expanduser().absolute()
    if not existing(root).is_dir():
        raise NotADirectoryError(
            f"the store cannot be in {root}: {existing(root)} is no folder; choose a folder (root=, or WORKBENCH_STORE)"
        )
    return root


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("alignment-workbench", appauthor=False) / "store"


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


@contextmanager
def temporary_folder(root: Path) -> Iterator[Path]:
    """A new folder in `root`, removed at the end unless it has been renamed. Its name says whose it is."""
    folder = _temporary_name(root)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_folder(root: Path, folder: Path) -> int:
    """Remove a folder and return its bytes. It loses its name first, so that nobody meets half of it."""
    size, doomed = folder_bytes(folder), _temporary_name(root)
    try:
        folder.rename(doomed)
    except FileNotFoundError:  # another process was faster
        return 0
    shutil.rmtree(doomed, ignore_errors=True)
    return size


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; 0 where it is gone."""
    total = 0
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):
                total += file.stat().st_size
    return total


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; Windows cannot be asked to."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(root: Path) -> int:
    """Remove what killed processes left behind; bytes freed. Where nothing may be written, nothing happens."""
    freed = 0
    with suppress(OSError):
        for folder in root.glob(f"{TEMPORARY}*"):
            if _abandoned(folder):
                freed += folder_bytes(folder)
                shutil.rmtree(folder, ignore_errors=True)
    return freed


def _temporary_name(root: Path) -> Path:
    return root / f"{TEMPORARY}{this_process()}-{secrets.token_hex(4)}"


def this_process() -> str:
    """A name for this process among all that may share the store: <host>-<number>."""
    return f"{_here()}-{os.getpid()}"


def _abandoned(folder: Path) -> bool:
    return is_abandoned(folder, folder.name.removeprefix(TEMPORARY).rpartition("-")[0])


def is_abandoned(path: Path, process: str) -> bool:
    """Whether the process that wrote a path is dead (`process` as in `this_process`); of one elsewhere, whether a day passed."""
    import psutil

    where, _, number = process.rpartition("-")
    if where == _here() and number.isdecimal() and not psutil.pid_exists(int(number)):
        return True
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > _DAY
    return False


@cache
def _here() -> str:
    """Where a process number means something: this host, and on Linux this container of it."""
    name = re.sub(r"[^\w.-]", "_", socket.gethostname())
    with suppress(OSError):
        name += f".{Path('/proc/self/ns/pid').stat().st_ino}"
    return name
