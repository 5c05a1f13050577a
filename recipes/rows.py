"""A long recipe as rows that are kept one by one: what is done already with the same digests is not done again."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.files import write_json


def run_folder(name: str) -> Path:
    """Where a recipe keeps its state: not part of the project. $WORKBENCH_RUNS, else ./runs."""
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / name


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


@dataclass(frozen=True)
class Rows:
    """The rows of one recipe: how each is made, by name, and the digests that a kept one must have."""

    folder: Path
    make: Mapping[str, Callable[[], dict]]
    digests: Mapping[str, str]

    def row(self, name: str, wanted: bool = True) -> dict | None:
        """The row as it is kept, or made where it is wanted and not there; None where it is neither."""
        file = self.folder / "rows" / f"{slug(name)}.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if stored.get("digests") != dict(self.digests) and wanted:
            began = time.monotonic()
            stored = {"digests": dict(self.digests), "row": self.make[name]()}
            write_json(file, stored)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        return stored["row"] if stored.get("digests") == dict(self.digests) else None

    def all(self, beginnings: list[str]) -> dict[str, dict] | None:
        """Every row, those made whose names begin so (all, where none is given); None, and says so, while some are missing.

        Raises ValueError for a beginning that no row has.
        """
        if unknown := [each for each in beginnings if not any(name.startswith(each) for name in self.make)]:
            raise ValueError(f"no row begins with {unknown[0]!r}; there are {', '.join(self.make)}")
        rows = {name: self.row(name, not beginnings or name.startswith(tuple(beginnings))) for name in self.make}
        if missing := [name for name, row in rows.items() if row is None]:
            print(f"not assembled yet, to be measured: {', '.join(missing)}")
            return None
        return rows
