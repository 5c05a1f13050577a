"""How recipes leave files behind: whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from workbench.files import write_whole


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside `path`, then rename: a reader never sees half a file."""
    write_whole(path, content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value) -> None:
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """First 16 hex digits, as in model cards."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
