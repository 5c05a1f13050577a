"""A query's nearest pictures in two embeddings, side by side: who they are, and the list as HTML with small pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from workbench.data.pictures import open_picture
from workbench.plots import theme
from workbench.records import rounded

SIDE = 56  # pixels of a small picture's longer side


@dataclass(frozen=True)
class Hit:
    """A picture in a list: its index, label and cosine with the query, whether its label is the query's, its place here
    (1 is nearest) and its place in the other list."""

    index: int
    label: str
    cosine: float
    right: bool
    place: int
    other: int


def nearest(features: Tensor, norms: Tensor, query: int) -> tuple[Tensor, Tensor]:
    """Cosines (N,) of features (N, d) of lengths (N,) with row `query`, and everybody's place from 1, the query's the last.

    Dividing the products by the lengths takes a fraction of the time that bringing all features to unit length does.
    """
    cosines = (features @ features[query]) / (norms * norms[query])
    order = cosines.index_fill(0, torch.tensor(query), -torch.inf).argsort(descending=True, stable=True)
    return cosines, torch.empty_like(order).index_copy_(0, order, torch.arange(1, len(order) + 1))


class Thumbnails:
    """Pictures as small JPEG data URIs, made when first asked for; `failed` holds what could not be opened, and why."""

    def __init__(self, pictures: Sequence):
        self.pictures = pictures
        self.failed: dict[int, str] = {}
        self._made: dict[int, str] = {}

    def __getitem__(self, index: int) -> str:
        if index not in self._made:
            try:
                self._made[index] = _small(self.pictures[index])
            except (ValueError, TypeError, OSError) as error:
                self._made[index], self.failed[index] = "", f"picture {index} is not shown: {error}"
        return self._made[index]


def _small(source) -> str:
    image = open_picture(source, max_side=2 * SIDE).image.copy()
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def html(query: str, before: Sequence[Hit], after: Sequence[Hit], kept: str, thumbnails: Thumbnails) -> str:
    """Two lists as one table, under a line of HTML about the query; labels are untrusted text. `kept` names the band."""
    cells = (
        (_cell(a, thumbnails, "after"), _cell(b, thumbnails, "before")) for a, b in zip(before, after, strict=True)
    )
    rows = "".join(f"<tr>{left}{right}</tr>" for left, right in cells)
    heads = "".join(
        f'<th scope="col" style="text-align:left;width:50%">{name}<br>{sum(hit.right for hit in hits)} of {len(hits)} right</th>'
        for name, hits in (("Before: as trained", before), (f"After: {_whole(kept)}", after))
    )
    caption = f"The {len(before)} nearest, with their cosine and their place in the other list"
    return (
        f'<div style="line-height:1.3">{query}<table style="width:100%;table-layout:fixed;border-collapse:collapse">'
        f'<caption style="text-align:left">{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def head(index: int, label: str, alike: int, thumbnails: Thumbnails) -> str:
    """The query itself, and how many others there are to find."""
    found = f"{alike} others have this label" if alike else "no other picture has this label"
    words = f"<div>Query: picture {index}, <strong>{_said(label)}</strong>; {found}</div>"
    return f'<div dir="auto" style="{_FLEX};margin-bottom:.4rem">{_img(index, label, thumbnails)}{words}</div>'


_FLEX = "display:flex;align-items:center;gap:.4rem"


def _cell(hit: Hit, thumbnails: Thumbnails, other: str) -> str:
    mark, edge = ("✓ right", f"solid {theme.COLOURS[2]}") if hit.right else ("✗ wrong", f"dashed {theme.COLOURS[1]}")
    words = (
        f"{hit.place}. <strong>{_said(hit.label)}</strong><br>{mark}, {rounded(hit.cosine, 3)}<br>{_moved(hit, other)}"
    )
    style = f"{_FLEX};border-left:4px {edge};padding-left:.4rem;margin:.15rem 0"
    return (
        f'<td dir="auto" style="padding:0 .3rem 0 0"><div style="{style}">{_img(hit.index, hit.label, thumbnails)}'
        f'<div style="min-width:0;overflow-wrap:anywhere">{words}</div></div></td>'
    )


def _moved(hit: Hit, other: str) -> str:
    """Where the picture stands in the other list, and how many places the band moved it."""
    up = hit.other - hit.place if other == "before" else hit.place - hit.other
    return f"{other}: {hit.other} ({'↑' if up > 0 else '↓'}{abs(up)})" if up else "same place"


def _img(index: int, label: str, thumbnails: Thumbnails) -> str:
    source = thumbnails[index]
    box = f"width:{SIDE}px;height:{SIDE}px;object-fit:contain;flex:none"
    alt = f"picture {index}, labelled {theme.shortened(label, 60)}"
    if not source:
        return f'<span style="{box};text-align:center">no picture</span>'
    return f'<img src="{source}" alt="{escape(alt)}" style="{box}">'


def _whole(words: str) -> str:
    """Escaped, and not broken inside a word such as 19–57."""
    return " ".join(f'<span style="white-space:nowrap">{escape(word)}</span>' for word in words.split())


def _said(label: str) -> str:
    return escape(theme.shortened(label, 40))
