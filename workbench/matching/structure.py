"""Structure-guided inference: every segment of a caption finds its crop of the picture, and the finds are averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.crops import Regions, Segments
from workbench.matching.late import late_interaction
from workbench.matching.tokens import check_width, checked_mask, mean_over, unit


def structure_guided(
    regions: Regions,
    segments: Segments,
    *,
    exclusive: bool = False,
    background: Regions | None = None,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """s(I, T) = (1/K) Σ_k max_r cos(f(crop_r), g(segment_k)), crops and segments encoded alone: N pictures, M captions → (N, M).

    Miranda et al., arXiv 2506.09691; the diagnostic of arXiv 2604.11496, section 3. It is `late_interaction` with crops for
    patches and segments for words, free and without a global term but for the full crop and the whole caption, which are
    among them. `exclusive` lets no two segments of a caption take the same crop: the one-to-one assignment with the largest
    mean (Hungarian method, scipy). `background`, crops of other pictures, centres: of each segment's find it takes away the
    mean of what that segment finds in those, as short phrases score higher or lower than long ones whatever is shown. Blocks
    of at most `max_bytes`. Errors as for `late_interaction`; ValueError for an exclusive assignment of more segments than
    there are crops.

    The traps: crops are enlarged to one size, so size, number and place are lost; centring moves all pictures of a caption
    alike, so it never changes which picture a caption prefers; and the segments of natural captions are often wrong, 59 % by
    the authors' count.
    """
    if not exclusive:
        best = late_interaction(
            regions.tokens, segments.tokens, segments.mask, image_mask=regions.mask, max_bytes=max_bytes
        )
    else:
        best = _exclusive(regions, segments, max_bytes)
    if background is None:
        return best
    return best - structure_guided(background, segments, exclusive=exclusive, max_bytes=max_bytes).mean(0)


def _exclusive(regions: Regions, segments: Segments, max_bytes: int) -> Tensor:
    region_mask = checked_mask("image", regions.tokens, regions.mask)
    segment_mask = checked_mask("text", segments.tokens, segments.mask)
    check_width(regions.tokens, segments.tokens)
    fewest, most = int(region_mask.sum(1).min()), int(segment_mask.sum(1).max())
    if most > fewest:
        raise ValueError(
            f"a caption of {most} segments and a picture of {fewest} crops: they cannot all differ; give more crops, a "
            "coarser granularity, or exclusive=False"
        )
    crops, texts = unit(regions.tokens).float(), unit(segments.tokens).float()

    def scores(rows: slice, columns: slice) -> Tensor:
        cosines = torch.einsum("nrd,mkd->nmkr", crops[rows], texts[columns])
        cosines = cosines.masked_fill_(~region_mask[rows, None, None], -torch.inf)
        best, chosen = cosines.max(-1)
        means = mean_over(best, segment_mask[columns])
        # Where all have chosen different crops nothing is exclusive about it; only the others cost an assignment.
        for n, m in _clashes(chosen, segment_mask[columns]):
            means[n, m] = _assigned(cosines[n, m][segment_mask[columns][m]][:, region_mask[rows][n]])
        return means

    bytes_per_pair = 8 * crops.shape[1] * texts.shape[1]  # einsum may copy
    return in_blocks(scores, len(crops), len(texts), bytes_per_pair, max_bytes)


def _clashes(chosen: Tensor, mask: Tensor) -> list[list[int]]:
    """Pairs (n, m) of which two segments that count have chosen the same crop: chosen (n, m, K), mask (m, K)."""
    alone = -1 - torch.arange(chosen.shape[-1], device=chosen.device)  # what does not count clashes with nothing
    ordered = torch.where(mask, chosen, alone).sort(-1).values
    return (ordered[..., 1:] == ordered[..., :-1]).any(-1).nonzero().tolist()


def _assigned(cosines: Tensor) -> float:
    """The largest mean of a one-to-one assignment: cosines (K, R) with K ≤ R."""
    from scipy.optimize import linear_sum_assignment

    values = cosines.detach().double().cpu().numpy()
    return float(values[linear_sum_assignment(values, maximize=True)].mean())
