"""A photo read in sliding windows: patch tokens of overlapping windows, averaged where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from numbers import Integral

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from workbench.matching.crops import Box
from workbench.matching.seen import LEAST, seen_box
from workbench.progress import bar

MOST_BYTES = 1 << 30  # of averaged cells; beyond it the window is likelier a typing error than a wish


@dataclass(frozen=True, eq=False)
class Cells:
    """Means of unit patch vectors: vectors (h, w, d) on a grid that divides `box` of a photo, read in `passes` windows."""

    vectors: Tensor
    box: Box
    stride: int | None
    passes: int


def window_cells(
    model,
    photo: Image.Image,
    *,
    window: int | None = None,
    stride: int | None = None,
    image_size: int | None = None,
    dense: str = "raw",
    batch_size: int = 16,
) -> Cells:
    """One pass, or windows of `window` pixels every `stride` (half of that): the unit patch vectors, averaged by area.

    The grid is as fine as a window's. A product with a unit text vector is the mean of the windows' cosines. Raises ValueError
    for a window that does not fit, a stride that leaves gaps, no patch tokens, or NaN in them.
    """
    batch_size = _whole("batch_size", batch_size, "windows")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; give how many windows to encode at a time, from 1")
    places, stride = _places(photo.size, window, stride)
    model.grid(image_size)  # raises where the tower has none
    side = photo.size if window is None else (window, window)
    part = seen_box(model, side, image_size)
    _check_gaps(places, part, stride)
    pieces = [(left, top, left + side[0], top + side[1]) for top, left in product(*places[::-1])]
    canvas, starts = None, range(0, len(pieces), batch_size)
    for start in bar(starts, f"{len(pieces)} windows") if len(starts) > 1 else starts:
        batch = pieces[start : start + batch_size]
        pixels = [model.preprocess(photo.crop(piece), image_size) for piece in batch]
        features = model.encode_pixels(pixels, tokens=True, dense=dense)
        tokens = _checked(features.tokens)
        canvas = canvas or _Canvas(pieces, part, features.grid, tokens.shape[-1])
        for piece, cells in zip(batch, tokens, strict=True):
            canvas.add(piece, cells.unflatten(0, features.grid))
    return Cells(canvas.averages(), canvas.box, stride, len(pieces))


class _Canvas:
    """A grid over the photo; every window's unit cells count in its cells by the area that they share."""

    def __init__(self, pieces: list[Box], part: Box, grid: tuple[int, int], d: int):
        self.part, self.given = part, grid
        first, last = pieces[0], pieces[-1]
        self.box = (first[0] + part[0], first[1] + part[1], last[0] + part[2], last[1] + part[3])
        across, down = (_edges(self.box[k], self.box[k + 2], part[k + 2] - part[k], grid[1 - k]) for k in (0, 1))
        h, w = len(down) - 1, len(across) - 1
        if 4 * h * w * d > MOST_BYTES:
            raise ValueError(
                f"{h} × {w} cells of {d} numbers are more than {MOST_BYTES >> 20} MiB; give a larger window, or a smaller photo"
            )
        self.across, self.down = across, down
        self.sums, self.areas = torch.zeros(h, w, d), torch.zeros(h, w, 1)

    def add(self, piece: Box, cells: Tensor) -> None:
        """Cells (h, w, d) of a window at `piece`."""
        x, y = piece[:2]
        left, top, right, bottom = self.part
        rows, down = _overlap(self.down, _steps(y + top, y + bottom, self.given[0]))
        columns, across = _overlap(self.across, _steps(x + left, x + right, self.given[1]))
        self.sums[rows, columns] += torch.einsum("rh,hwd,cw->rcd", down, F.normalize(cells, dim=-1), across)
        self.areas[rows, columns] += (down.sum(1)[:, None] * across.sum(1))[..., None]

    def averages(self) -> Tensor:
        return self.sums / self.areas


def _steps(begin: float, end: float, n: int) -> Tensor:
    return torch.linspace(begin, end, n + 1, dtype=torch.float64)


def _edges(begin: int, end: int, side: int, cells: int) -> Tensor:
    """Edges of the photo's cells: as many as make them as large as a window's, which has `cells` on `side` pixels."""
    return _steps(begin, end, max(round((end - begin) * cells / side), 1))


def _overlap(edges: Tensor, others: Tensor) -> tuple[slice, Tensor]:
    """Which cells of `edges` (n + 1,) some of `others` (m + 1,) touch, and the length that each two share: (touched, m)."""
    length = torch.minimum(edges[1:, None], others[1:]) - torch.maximum(edges[:-1, None], others[:-1])
    length = torch.where(
        length > 1e-9 * (others[1] - others[0]), length, 0
    )  # what rounding alone makes overlap does not
    touched = length.any(1).nonzero().flatten().tolist()
    place = slice(touched[0], touched[-1] + 1)
    return place, length[place].float()


# What comes in -----------------------------------------------------------------------------------------------------------


def _places(size: tuple[int, int], window: int | None, stride: int | None) -> tuple[tuple[list, list], int | None]:
    """Left and top edges of all windows, and the stride."""
    if window is None:
        if stride is not None:
            raise ValueError(f"stride={stride!r} goes with window=; give both, or leave both out for one pass")
        return ([0], [0]), None
    window = _whole("window", window)
    if not LEAST <= window <= min(size):
        raise ValueError(
            f"window={window} on a photo of {size[0]} × {size[1]} pixels; give {LEAST} to {min(size)}, or None for one pass"
        )
    stride = window // 2 if stride is None else _whole("stride", stride)
    if not 1 <= stride <= window:
        raise ValueError(f"stride={stride} with windows of {window} pixels; give 1 to {window}")
    return tuple(_starts(length - window, stride) for length in size), stride


def _starts(last: int, stride: int) -> list[int]:
    """Where windows begin; the last is moved inside, not padded: what a tower makes of padding would be averaged in."""
    return [*range(0, last, stride), last]


def _whole(what: str, value, unit: str = "pixels") -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} is {type(value).__name__} {value!r}; give a whole number of {unit}")
    return int(value)


def _check_gaps(places: tuple[list, list], part: Box, stride: int | None) -> None:
    """A model that crops sees the middle of a window only."""
    for starts, side in zip(places, (part[2] - part[0], part[3] - part[1]), strict=True):
        if any(b - a > side for a, b in pairwise(starts)):
            raise ValueError(
                f"stride={stride} leaves gaps: of every window the model sees {side} pixels; give {side} or less"
            )


def _checked(tokens: Tensor | None) -> Tensor:
    if tokens is None:
        raise ValueError("this model gives no patch tokens; take another, such as 'lite2-minilm'")
    tokens = tokens.float().cpu()
    if not torch.isfinite(tokens).all():
        raise ValueError("patch tokens hold NaN or infinity; a model gave a broken feature, check its inputs")
    return tokens
