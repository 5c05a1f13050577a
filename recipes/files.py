"""How recipes leave files behind: whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside `path`, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def write_json(path: Path, value) -> None:
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """First 16 hex digits, as in model cards."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
