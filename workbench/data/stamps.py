"""Captioned photo cut-outs, where Debian's `tuxpaint-stamps-default` is installed (GPL-2; read in place, never copied)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = "/usr/share/tuxpaint/stamps"
_TURNED = re.compile(r"_(mirror|flip)", re.IGNORECASE)  # bradley_mirror.png: bradley.png, drawn for the other direction
_LONGEST = 1000  # characters; the longest caption of the package has under 300


@dataclass(frozen=True)
class Stamp:
    """A picture with alpha, its English caption, and its top-level folder (animals, food, town …)."""

    path: Path
    caption: str
    folder: str


def stamps(root: str | Path = ROOT) -> list[Stamp]:
    """Every PNG stamp with a caption (line 1 of the .txt beside it), sorted by path; mirrored and flipped ones are left out.

    Raises FileNotFoundError where there is no such folder, ValueError where it holds no captioned picture.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not there; run `apt-get install tuxpaint-stamps-default`, or give root=<folder>"
        )
    found = [
        Stamp(path, caption, path.relative_to(root).parts[0])
        for path in sorted(root.rglob("*.png"))
        if not _TURNED.search(path.stem) and (caption := _caption(path))
    ]
    if not found:
        raise ValueError(
            f"{root} holds no .png with a .txt caption beside it; give the folder that holds animals/, food/ …"
        )
    return found


def photo_stamps(root: str | Path = ROOT) -> list[Stamp]:
    """One stamp per caption (the first by path), without `symbols/` and without `cartoon` folders.

    `symbols/` holds letters, digits, notes, coins and chessmen. Most of what remains are photo cut-outs; flags, road
    signs, clothes and much of `seasonal/` are drawings, since the package does not mark them otherwise.
    """
    kept: dict[str, Stamp] = {}
    for stamp in stamps(root):
        folders = stamp.path.relative_to(root).parts[:-1]
        if "cartoon" not in folders and stamp.folder != "symbols":
            kept.setdefault(stamp.caption.casefold(), stamp)
    return list(kept.values())


def _caption(picture: Path) -> str:
    text = picture.with_suffix(".txt")
    if not text.is_file():
        return ""
    with text.open(encoding="utf-8-sig", errors="replace") as lines:
        return lines.readline(_LONGEST).strip()
