"""A score taken apart: what each piece of a caption finds in a picture, what it gives, and which piece decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching.conditioned import conditioned_pooling
from workbench.matching.crops import Regions, Segments
from workbench.matching.grouped import grouped_tokens
from workbench.matching.local import local_scores
from workbench.matching.roi import roi_features
from workbench.matching.rules import RULES, score
from workbench.matching.tokens import unit
from workbench.matching.transport import transport_plan
from workbench.records import Record, Table, rounded

WHOLE = "the whole caption"
EQUAL = 1e-6  # scores that differ by less are a tie: the same words in another order are not the same bits
_OPTIONS = "exclusive", "background", "boxes", "frames", "normalize"
_Found = tuple[Tensor, Tensor, Tensor]  # values (K,), weights (K,) and winners (K,)


@dataclass(frozen=True)
class Breakdown(Record):
    """One picture and one caption: score = Σ_k weights[k] · values[k] over K pieces, with weights that add up to 1.

    `cosines` (K, R) are those of every piece with every region, -inf where a region does not count; `winners[k]` is the
    region that piece k takes, or looks at most.
    """

    rule: str
    pieces: tuple[str, ...]
    cosines: Tensor
    winners: tuple[int, ...]
    values: Tensor
    weights: Tensor

    @property
    def score(self) -> float:
        return float(self.weights @ self.values)

    def table(self) -> Table:
        numbers = zip(self.values.tolist(), self.weights.tolist(), strict=True)
        rows = [
            (piece, rounded(value, 3), rounded(weight, 3), rounded(weight * value, 3))
            for piece, (value, weight) in zip(self.pieces, numbers, strict=True)
        ]
        return Table(f"{self.rule}: {rounded(self.score, 3)}", ("piece", "value", "weight", "gives"), tuple(rows))


def breakdown(rule: str, image: ImageFeatures | Regions, text: TextFeatures | Segments, **options) -> Breakdown:
    """What `score(rule, image, text)` of one picture and one caption is made of, for the rules without a trained head.

    Pieces are the caption's segments where a rule reads segments, its tokens where it reads tokens, else its whole; regions
    are crops, boxes, patches or the whole picture. A mean over pieces gives each the weight 1/K. Where each patch takes its
    best word ("late_tokens"), a word weighs the share of the patches that took it. In the logarithm of a sum ("local") a
    word's weight is its share of the sum, and each has the score for its value. `options` are those of "crops" and "roi"
    (exclusive, background, boxes, frames, normalize); of other rules they stay at their defaults. Raises ValueError for a rule
    with a head or several pictures or captions, TypeError for another option, and what `score` raises. The trap: a piece's
    value says what it finds, not that it is there; an easy word is high in any picture.
    """
    if rule in RULES and RULES[rule].head:
        free = ", ".join(name for name, each in RULES.items() if not each.head)
        raise ValueError(
            f"rule {rule!r} has a trained head, which reads a pair as a whole; those that come apart: {free}"
        )
    if surplus := [name for name in options if name not in _OPTIONS]:
        raise TypeError(f"a score is taken apart without {surplus[0]!r}; options: {', '.join(_OPTIONS)}")
    scores = score(rule, image, text, **options)
    if scores.shape != (1, 1):
        raise ValueError(f"{scores.shape[0]} pictures and {scores.shape[1]} captions; take one pair apart at a time")
    labels, pieces = _pieces(rule, text)
    regions, mask = _regions(rule, image, options)
    kept = mask.nonzero().flatten()
    cosines = unit(pieces).float() @ unit(regions).float().T
    if rule in ("crops", "roi"):
        found = _structured(cosines[:, kept], pieces, options.get("exclusive", False), options.get("background"))
    else:
        found = _HOW[rule](regions[kept], pieces, cosines[:, kept], scores[0])
    values, weights, winners = found
    cosines = cosines.masked_fill(~mask, -torch.inf)
    return Breakdown(rule, labels, cosines, tuple(kept[winners].tolist()), values.float(), weights.float())


def _pieces(rule: str, text: TextFeatures | Segments) -> tuple[tuple[str, ...], Tensor]:
    """What they say, and their vectors (K, d)."""
    if "pooled" in RULES[rule].text and "tokens" not in RULES[rule].text:
        return (WHOLE,), text.post
    kept = text.mask[0].nonzero().flatten().tolist()
    vectors = text.tokens[0, kept]
    if isinstance(text, Segments):
        return tuple(text.texts[0][k] for k in kept), vectors
    said = tuple(_said(text, t) for t in kept)
    return ((*said, WHOLE), torch.cat([vectors, text.post])) if rule == "late_eos" else (said, vectors)


def _said(text: TextFeatures, t: int) -> str:
    """The word of a token, and which part of it where a tokenizer cuts it."""
    ids = None if text.word_ids is None else text.word_ids[0]
    if ids is None or t >= len(ids) or ids[t] is None:
        return f"token {t + 1}"
    word, n = text.words[0][ids[t]], ids.count(ids[t])
    return word if n == 1 else f"{word} ({ids[: t + 1].count(ids[t])} of {n})"


def _regions(rule: str, image: ImageFeatures | Regions, options: dict) -> tuple[Tensor, Tensor]:
    """Vectors (R, d), and which of them count (R,)."""
    if rule == "roi":
        normalize = options.get("normalize", "each")
        image = roi_features(image, options["boxes"], options["frames"], normalize=normalize)
    if isinstance(image, Regions):
        mask = torch.ones(image.tokens.shape[1], dtype=torch.bool) if image.mask is None else image.mask[0]
        return image.tokens[0], mask
    vectors = image.tokens[0] if "tokens" in RULES[rule].image else image.post
    return vectors, torch.ones(len(vectors), dtype=torch.bool)


def _mean(values: Tensor, winners: Tensor) -> _Found:
    return values, torch.full_like(values, 1 / len(values)), winners


def _structured(cosines: Tensor, pieces: Tensor, exclusive: bool, background: Regions | None) -> _Found:
    find = _assigned if exclusive else _best
    values, winners = find(cosines)
    if background is not None:
        kept = (tokens[mask] for tokens, mask in zip(background.tokens, background.mask, strict=True))
        others = [find(unit(pieces).float() @ unit(each).float().T)[0] for each in kept]
        values = values - torch.stack(others).mean(0)
    return _mean(values, winners)


def _best(cosines: Tensor) -> tuple[Tensor, Tensor]:
    values, winners = cosines.max(1)
    return values, winners


def _assigned(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """As `structure_guided(exclusive=True)`: no two pieces take the same region."""
    from scipy.optimize import linear_sum_assignment

    winners = torch.as_tensor(linear_sum_assignment(cosines.double().numpy(), maximize=True)[1])
    return cosines.gather(1, winners[:, None])[:, 0], winners


def _single(regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    return _mean(whole, cosines.argmax(1))


def _words(regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    return _mean(*_best(cosines))


def _alone(function: Callable[..., Tensor], regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    """A mean over pieces of what each gives as a caption of its own."""
    return _mean(function(regions[None], pieces[:, None])[0], cosines.argmax(1))


def _by_region(regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    """Each region takes its best piece; a piece that none takes has no weight."""
    best, takers = cosines.max(0)
    took = torch.nn.functional.one_hot(takers, len(pieces)).T.bool()  # (K, R)
    counts = took.sum(1)
    values = torch.where(counts > 0, (best * took).sum(1) / counts.clamp_min(1), cosines.amax(1))
    own = torch.where(counts[:, None] > 0, cosines.masked_fill(~took, -torch.inf), cosines)
    return values, counts / len(takers), own.argmax(1)


def _log_sum(regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    """log Σ exp(x_k) = Σ p_k (x_k - log p_k), p = softmax(x), where every bracket is the logarithm itself."""
    shares = local_scores(regions[None], pieces[:, None])[0].softmax(0)
    return whole.expand(len(pieces)), shares, (pieces.float() @ regions.float().T).argmax(1)


def _transported(regions: Tensor, pieces: Tensor, cosines: Tensor, whole: Tensor) -> _Found:
    """A word's own mass is 1/K; what of it no patch takes counts nothing, which is the default price."""
    R, K = len(regions), len(pieces)
    plan = transport_plan(cosines.T, torch.full((R,), 1 / R), torch.full((K,), 1 / K), price=0.0)
    return _mean(K * (plan * cosines.T).sum(0), plan.argmax(0))


_HOW: dict[str, Callable[..., _Found]] = {
    **dict.fromkeys(("global", "patch_pooling", "text_pooling"), _single),
    **dict.fromkeys(("late", "late_eos", "segments"), _words),
    "late_tokens": _by_region,
    "grouped": partial(_alone, grouped_tokens),
    "phrase_pooling": partial(_alone, conditioned_pooling),
    "local": _log_sum,
    "transport": _transported,
}


@dataclass(frozen=True)
class Duel(Record):
    """One picture, captions A and B, each taken apart by the same rule: which piece makes one of them win.

    Piece k pushes its caption by weights[k] · (values[k] - middle), the middle being that of the two scores. A's pushes add up
    to half of A's lead and B's to minus that, whatever number of pieces each has.
    """

    a: Breakdown
    b: Breakdown

    @property
    def lead(self) -> float:
        """A's score minus B's; 0.0 for a tie but for rounding."""
        lead = self.a.score - self.b.score
        return lead if abs(lead) > EQUAL * max(1, abs(self.a.score)) else 0.0

    @property
    def pushes(self) -> tuple[Tensor, Tensor]:
        middle = (self.a.score + self.b.score) / 2
        return self.a.weights * (self.a.values - middle), self.b.weights * (self.b.values - middle)

    def shares(self) -> dict[str, float]:
        """Of every different text (case ignored) what it gives to A's lead: they add up to the lead. What both captions say,
        and weigh alike, cancels."""
        given: dict[str, float] = {}
        for sign, side, pushes in zip((1, -1), (self.a, self.b), self.pushes, strict=True):
            for text, push in zip(side.pieces, pushes.tolist(), strict=True):
                given[text.casefold()] = given.get(text.casefold(), 0.0) + sign * push
        return given

    def deciding(self) -> tuple[int, int] | None:
        """(0 for A or 1 for B, piece) of the text that gives most to the winner's lead; None for a tie."""
        if not self.lead:
            return None
        shares, sign = self.shares(), 1 if self.lead > 0 else -1
        text = max(shares, key=lambda each: sign * shares[each])
        places = [
            (side, k) for side, each in enumerate((self.a, self.b)) for k, piece in enumerate(each.pieces)
            if piece.casefold() == text
        ]  # fmt: skip
        won = 0 if sign > 0 else 1
        return next((place for place in places if place[0] == won), places[0])

    def summary(self) -> str:
        """One sentence or two: who wins by how much, and which piece speaks most for it."""
        scores = f"A {rounded(self.a.score, 3)}, B {rounded(self.b.score, 3)}"
        decided = self.deciding()
        if decided is None:
            return f"{scores}: a tie."
        side, k = decided
        winner, piece = "BA"[self.lead > 0], (self.a, self.b)[side].pieces[k]
        share = abs(self.shares()[piece.casefold()])
        lead = f"{scores}: {winner} by {rounded(abs(self.lead), 4)}."
        if len(self.a.pieces) == len(self.b.pieces) == 1:
            return f"{lead} The rule reads each caption as a whole."
        how = ", found less than the rest," if "AB"[side] != winner else ""
        return f"{lead} “{piece}” ({'AB'[side]}{k + 1}){how} speaks most for {winner}: {share:+.4f}."

    def table(self, names: Sequence[str] = ()) -> Table:
        """Every piece of both captions; `names` of the regions adds the one that it takes."""
        rows = [
            (
                f"{letter}{k + 1}",
                side.pieces[k],
                *((names[side.winners[k]],) if names else ()),
                *_numbers(side, pushes, k),
            )
            for letter, side, pushes in zip("AB", (self.a, self.b), self.pushes, strict=True)
            for k in range(len(side.pieces))
        ]
        header = ("piece", "says", *(("takes",) if names else ()), "value", "weight", "gives", "push")
        caption = f"{self.a.rule}: a caption's score is the sum of “gives”; “push” is what of it lies above the middle of both"
        return Table(caption, header, tuple(rows))


def _numbers(side: Breakdown, pushes: Tensor, k: int) -> tuple[str, ...]:
    value, weight = float(side.values[k]), float(side.weights[k])
    return rounded(value, 3), rounded(weight, 3), rounded(weight * value, 3), f"{round(float(pushes[k]), 4) + 0.0:+.4f}"
