"""Public-domain drawings with titles, where Debian's `openclipart-png` and `openclipart-svg` are installed (read in place).

The pictures are the PNGs; what they show stands in the RDF of the SVG of the same name. 5,000 of the 8,121 are signs: stars,
flags, icons, road signs, playing cards. `named_cliparts` leaves them out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

ROOT = "/usr/share/openclipart"
SIGNS = (
    *("buttons", "computer/buttons", "computer/connectors", "computer/diagrams", "computer/folders", "computer/icons"),
    *("logos", "people/smilies", "recreation/games/cards", "shapes", "signs_and_symbols", "special"),
    *("transportation/aiga-symbols", "transportation/roadsigns", "unsorted"),
)
_SIGN_WORDS = frozenset("arrow button flag flowchart geometry icon icons letter map maps roadsign sign stars".split())
_CREDIT = re.compile(
    r"^clip\s?art by .*? - .*", re.IGNORECASE
)  # "Clipart by Nicu Buculei - book_01" is on 300 pictures
_NUMBERS = re.compile(r"[\d#_.,()]+|\b(bw|b and w|simple|r\d+)\b", re.IGNORECASE)
_MACHINE = re.compile(r"^(hash(\(0x[0-9a-f]+\))?|unsorted|\W*[\d\W]*)$", re.IGNORECASE)  # what a script left behind
_ITALIAN = re.compile(r"_arch")  # Architetto Francesco Rollandin titles his drawings in Italian
_SHARED, _LONGEST = 8, 200  # a title on more pictures is a collection's; characters of a title or a keyword


@dataclass(frozen=True)
class Clipart:
    """A PNG, its title and keywords (untrusted text), and its folder below the root (food/fruit …)."""

    path: Path
    title: str
    keywords: tuple[str, ...]
    folder: str


def cliparts(root: str | Path = ROOT) -> list[Clipart]:
    """Every PNG below `root`/png that has an SVG in `root`/svg, with its title and keywords as written, sorted by path.

    Raises FileNotFoundError where a folder is missing, ValueError where they hold no such pair.
    """
    pictures, drawings = Path(root) / "png", Path(root) / "svg"
    for folder in (pictures, drawings):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder} is not there; run `apt-get install openclipart-png openclipart-svg`, or give root=<folder>"
            )
    pairs = [
        (path, drawings / path.relative_to(pictures).with_suffix(".svg")) for path in sorted(pictures.rglob("*.png"))
    ]
    found = [
        Clipart(path, *_described(drawing), path.parent.relative_to(pictures).as_posix())
        for path, drawing in pairs
        if drawing.is_file()
    ]
    if not found:
        raise ValueError(
            f"{root} holds no png/….png with an svg/….svg beside it; give the folder that holds png/ and svg/"
        )
    return found


def named_cliparts(root: str | Path = ROOT) -> list[Clipart]:
    """Pictures of things with a name: without signs, with numbers and credits taken off the title, in lower case.

    A title that many pictures share is their collection's; the file's own name then stands for it. Left out: folders and
    keywords of signs, titles in Italian, what has no name left.
    """
    every = cliparts(root)
    shared = Counter(each.title.casefold() for each in every)
    kept = []
    for each in every:
        if _is_sign(each) or _ITALIAN.search(each.path.stem):
            continue
        of_its_own = each.title and shared[each.title.casefold()] <= _SHARED and not _CREDIT.match(each.title)
        name, keywords = _plain(each.title if of_its_own else each.path.stem), _words(each.keywords)
        if len(name) > 2:
            kept.append(replace(each, title=name, keywords=keywords))
    return kept


def _described(drawing: Path) -> tuple[str, tuple[str, ...]]:
    """Title and keywords of an SVG's first description; ("", ()) where it has none or cannot be read to that point."""
    try:
        for _, element in ElementTree.iterparse(drawing):
            if _local(element) == "Work":
                return _title(element), _keywords(element)
    except ElementTree.ParseError:
        pass
    return "", ()


def _local(element) -> str:
    return element.tag.rpartition("}")[2]


def _title(work) -> str:
    return next(((each.text or "").strip()[:_LONGEST] for each in work if _local(each) == "title"), "")


def _keywords(work) -> tuple[str, ...]:
    items = [
        each for subject in work if _local(subject) == "subject" for each in subject.iter() if _local(each) == "li"
    ]
    return tuple(each.text.strip()[:_LONGEST] for each in items if each.text and each.text.strip())


def _is_sign(each: Clipart) -> bool:
    inside = any(each.folder == sign or each.folder.startswith(f"{sign}/") for sign in SIGNS)
    return inside or bool(_SIGN_WORDS & {keyword.casefold() for keyword in each.keywords})


def _plain(title: str) -> str:
    return " ".join(_NUMBERS.sub(" ", title.replace("-", " ")).casefold().split())


def _words(keywords: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.casefold().replace("_", " ") for each in keywords if not _MACHINE.match(each)))
