"""The diagnostic: every rule without a head on the same features of the same quads, and controls of what crops buy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.controlled import ControlledScores
from workbench.data.scenes.quads import CATEGORIES, Quad, quads
from workbench.evaluation.blind import shuffled_images
from workbench.evaluation.composition import group_scores, levelled
from workbench.evaluation.ranking import ROUNDING
from workbench.fine_grained.parts import QuadParts, quad_parts, some
from workbench.matching.crops import Box, Regions, Segments
from workbench.matching.rules import RULES, score
from workbench.matching.tokens import unit
from workbench.progress import bar

if TYPE_CHECKING:
    from workbench.models.dual_encoder import DualEncoder

FREE = tuple(name for name, rule in RULES.items() if not rule.head)
"""Rules that need no trained head."""

TRUE, ROI_TRUE, ONE = "crops, true boxes", "roi, true boxes", "segments × picture"
SCORERS = (*FREE, TRUE, ROI_TRUE, ONE)
"""The free rules, the same with true boxes in place of the blind grid's, and segments against the picture as its only crop."""

_RULE = {TRUE: "crops", ROI_TRUE: "roi", ONE: "crops"}
_AT_ONCE = 8  # quads whose pictures meet each other's captions too: more waste, fewer calls


def rule_scores(parts: QuadParts, scorer: str) -> Tensor:
    """scores[quad, picture, caption] (n, 2, 2) by one of SCORERS, with each rule's own defaults.

    Boxes of "roi" are those of the blind grid, so that only re-encoding tells it from "crops". Raises ValueError for an unknown
    scorer, and what `matching.score` raises, such as for a model without patch tokens.
    """
    _check_scorers([scorer])
    starts = range(0, len(parts), _AT_ONCE)
    return torch.cat([_own(_scored(parts[start : start + _AT_ONCE], scorer)) for start in starts])


def _check_scorers(scorers: Sequence[str]) -> None:
    if unknown := [name for name in scorers if name not in SCORERS]:
        raise ValueError(f"scorer={unknown[0]!r}; choose one of {', '.join(SCORERS)}")


def _scored(parts: QuadParts, scorer: str) -> Tensor:
    rule = RULES[_RULE.get(scorer, scorer)]
    regions = parts.objects if scorer in (TRUE, ROI_TRUE) else parts.whole if scorer == ONE else parts.crops
    image = regions if "crops" in rule.image else parts.image
    text = parts.segments if "segments" in rule.text else parts.text
    frames = [(0, 0, parts.side, parts.side)] * len(parts.image)
    options = {"boxes": regions.boxes, "frames": frames} if "boxes" in rule.required else {}
    return score(rule.name, image, text, **options)


def _own(scores: Tensor) -> Tensor:
    """Of all pictures with all captions (2n, 2n) each quad's own: (n, 2, 2)."""
    return scores.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def tied(scores: Tensor | np.ndarray) -> np.ndarray:
    """Scores (n, 2, 2) with those of a quad made equal that differ by rounding alone, whatever the rule's scale."""
    found = np.asarray(scores, dtype=np.float64)
    return levelled(found, ROUNDING * max(1.0, float(np.abs(found).max(initial=0))))


def diagnose(
    model: DualEncoder,
    n: int = 40,
    seed: int = 0,
    *,
    scorers: Sequence[str] = SCORERS,
    categories: Sequence[str] = CATEGORIES,
    controls: bool = False,
    make: Callable[..., list[Quad]] = quads,
    **options,
) -> ControlledScores:
    """`n` swap quads of every category by every scorer: each part encoded once, all scorers (and CONTROLS) read off that.

    `make(category, n, seed)` draws the quads, `options` go to `quad_parts` (side, cutter, grid, granularity, store). For a model
    without patches scorers that need them are left out. Every category's parts are in memory at a time: 2n pictures of 88 crops
    and more. Raises ValueError for an unknown scorer or category, no scorers that run, and as `quad_parts`.
    """
    _check_scorers(scorers)
    patches = model.card.grid is not None
    ran = [name for name in scorers if patches or not _needs_patches(name)]
    if not ran or not categories:
        raise ValueError(f"scorers={scorers!r}, categories={categories!r} leave nothing to ask of {model.name}")
    found: dict = {}
    for category in bar(categories, f"{len(categories)} categories of {n} quads"):
        parts = quad_parts(model, make(category, n, seed), patches=patches, **options)
        judged = {name: rule_scores(parts, name) for name in ran}
        judged |= {f"control: {name}": each(parts, seed=seed) for name, each in CONTROLS.items() if controls}
        found |= {(model.name, category, name): group_scores(tied(scores)) for name, scores in judged.items()}
    return ControlledScores(found)


def _needs_patches(scorer: str) -> bool:
    return "tokens" in RULES[_RULE.get(scorer, scorer)].image


# Controls ---------------------------------------------------------------------------------------------------------------


def permuted_segments(parts: QuadParts, seed: int = 0) -> Tensor:
    """The rule "crops" with the phrases of another quad's captions beside each caption's own whole."""
    return rule_scores(corrupted(parts, 1.0, seed), "crops")


def random_crops(parts: QuadParts, seed: int = 0) -> Tensor:
    """The rule "crops" where each segment takes a crop at random instead of its best."""
    crops, segments = unit(parts.crops.tokens).unflatten(0, (-1, 2)), unit(parts.segments.tokens).unflatten(0, (-1, 2))
    every, mask = parts.crops.mask.unflatten(0, (-1, 2)), parts.segments.mask.unflatten(0, (-1, 2))
    (n, _, _, _), K = crops.shape, segments.shape[2]
    drawn = torch.rand(n, 2, 2, K, generator=torch.Generator().manual_seed(seed))
    which = (drawn * every.sum(-1)[:, :, None, None]).long()  # (picture, caption, segment); crops that count come first
    taken = crops[torch.arange(n)[:, None, None, None], torch.arange(2)[:, None, None], which]
    cosines = (taken * segments[:, None]).sum(-1)
    return (cosines * mask[:, None]).sum(-1) / mask[:, None].sum(-1)


def other_pictures(parts: QuadParts, scorer: str = "crops", seed: int = 0) -> Tensor:
    """A scorer with both pictures of another quad in their place."""
    order = shuffled_images(np.arange(len(parts)), seed=seed)
    rows = np.stack([2 * order, 2 * order + 1], 1).ravel()
    kinds = ("image", "crops", "objects")
    return rule_scores(replace(parts, **{name: some(getattr(parts, name), rows) for name in kinds}), scorer)


def caption_alone(parts: QuadParts, seed: int = 0) -> Tensor:
    """The rule "crops" with the whole caption as its only segment."""
    return rule_scores(_with_segments(parts, slice(-1, None)), "crops")


def phrases_alone(parts: QuadParts, seed: int = 0) -> Tensor:
    """The rule "crops" without the whole caption."""
    return rule_scores(_with_segments(parts, slice(-1)), "crops")


CONTROLS: dict[str, Callable[..., Tensor]] = {
    "permuted segments": permuted_segments,
    "random crops": random_crops,
    "other pictures": other_pictures,
    "other pictures, global": lambda parts, seed=0: other_pictures(parts, "global", seed),
    "caption alone": caption_alone,
    "phrases alone": phrases_alone,
}
"""name → scores (n, 2, 2) of parts and a seed: what is left of "crops" when one of its parts is taken away."""


def corrupted(parts: QuadParts, share: float, seed: int = 0) -> QuadParts:
    """Each phrase of a caption replaced, with probability `share`, by one of another quad's; whole captions stay.

    The authors count 59 % of segments of natural captions wrong (arXiv 2506.09691). What one share replaces, a larger one
    replaces too. Raises ValueError for a share outside 0 … 1, captions of different numbers of segments, or one quad.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}; give a probability, 0 to 1")
    own = _equal(parts.segments).unflatten(0, (-1, 2))
    other = own[torch.as_tensor(shuffled_images(np.arange(len(own)), seed=seed))]
    wrong = torch.rand(own.shape[:3], generator=torch.Generator().manual_seed(seed)) < share
    wrong[..., -1] = False
    tokens = torch.where(wrong[..., None], other, own).flatten(0, 1)
    return replace(parts, segments=replace(parts.segments, tokens=tokens))


def _with_segments(parts: QuadParts, which: slice) -> QuadParts:
    whole, found = parts.segments, _equal(parts.segments)[:, which]
    if not found.shape[1]:
        raise ValueError("captions of one segment have no phrases beside themselves; take a finer granularity")
    kept = Segments(found, whole.mask[:, which], tuple(each[which] for each in whole.texts))
    return replace(parts, segments=kept)


def _equal(segments: Segments) -> Tensor:
    if not bool(segments.mask.all()):
        raise ValueError("captions of different numbers of segments cannot exchange them; give all as many")
    return segments.tokens


def random_places(side: int, grid: Sequence[Box], seed: int) -> tuple[Box, ...]:
    """Boxes of a grid's sizes at random places of a picture of `side` pixels; one that is the whole picture stays."""
    draws = np.random.default_rng(seed)
    found = []
    for x0, y0, x1, y1 in grid:
        left, top = (int(draws.integers(0, side - length + 1)) for length in (x1 - x0, y1 - y0))
        found.append((left, top, left + x1 - x0, top + y1 - y0))
    return tuple(found)


def with_crops(parts: QuadParts, crops: Regions) -> QuadParts:
    """The same quads with other crops."""
    return replace(parts, crops=crops)
