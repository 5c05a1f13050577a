"""Where the shipped assets stand: inside an installed package, beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def assets() -> Path:
    """The folder of shipped weights and stored results.

    Raises FileNotFoundError where neither place has it (a partial copy of the package).
    """
    for folder in (_PACKAGE / "assets", _PACKAGE.parent / "assets"):
        if (folder / "models").is_dir():
            return folder
    raise FileNotFoundError(
        f"no assets folder in {_PACKAGE} or beside it; reinstall with `pip install -e .` from a full checkout"
    )
