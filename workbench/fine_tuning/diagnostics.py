"""What hard negatives change inside: how far a caption lies from its negatives, and which words carry a local score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.evaluation.statistics import Interval, bootstrap
from workbench.matching.local import local_similarity, local_terms
from workbench.models.dual_encoder import DualEncoder
from workbench.records import Record, Table


def caption_cosines(model: DualEncoder, captions: Sequence[str], negatives: Sequence[str]) -> np.ndarray:
    """Cosine of each caption with its negative: (n,). 1: the text tower does not tell them apart, whatever the picture.

    Raises ValueError for unequal numbers.
    """
    if len(captions) != len(negatives):
        raise ValueError(f"{len(captions)} captions and {len(negatives)} negatives; give one for each")
    text = F.normalize(model.encode_text([*captions, *negatives]).post, dim=-1)
    return (text[: len(captions)] * text[len(captions) :]).sum(-1).numpy()


@dataclass(frozen=True, eq=False)
class WordTerms(Record):
    """A local score word by word: `terms` (T,) cosines cos(v̂_w, t_w), `maps` (T, h, w) weights over patches, each adds up to 1.

    `words` (T,) are tokens by the word they belong to, the last the end of the text; `score` is log S_l at `scale`.
    """

    words: tuple[str, ...]
    terms: np.ndarray
    maps: np.ndarray
    score: float
    scale: float

    @property
    def shares(self) -> np.ndarray:
        """exp(scale · term) as shares of S_l: (T,)."""
        return torch.from_numpy(self.scale * self.terms).softmax(0).numpy()

    def table(self) -> Table:
        rows = tuple(
            (word, f"{term:.3f}", f"{100 * share:.1f}")
            for word, term, share in zip(self.words, self.terms, self.shares, strict=True)
        )
        return Table(f"log S_l {self.score:.3f} at scale {self.scale:.1f}", ("word", "cosine", "percent of S_l"), rows)


def word_terms(model: DualEncoder, picture, caption: str, *, normalizer: str = "minmax") -> WordTerms:
    """FSC-CLIP's local score of one picture and caption, taken apart (arXiv 2410.05210, eq. 6 to 8), at the model's own scale.

    Raises as `encode_image` and `encode_text`, and for a model without patches or word tokens.
    """
    image, text = model.encode_image(picture, tokens=True), model.encode_text(caption, tokens=True, keep_eos=True)
    counted = text.mask[0]
    terms, weights = local_terms(image.tokens[0], text.tokens[0, counted], normalizer=normalizer)
    ids = [text.word_ids[0][t] for t in counted.nonzero().flatten().tolist()]
    words = tuple("(end)" if i is None else text.words[0][i] for i in ids)
    score = float((model.logit_scale * terms).logsumexp(0))
    return WordTerms(words, terms.numpy(), weights.unflatten(1, image.grid).numpy(), score, model.logit_scale)


@dataclass(frozen=True)
class SwapReading(Record):
    """Captions and their swaps by the local score: `prefers`, how often the caption is ahead (chance 50), and `prefix`, how much
    of S_l the words before the first difference carry."""

    model: str
    prefers: Interval
    prefix: Interval

    def table(self) -> Table:
        rows = (
            ("the local score prefers the caption", self.prefers.percent()),
            ("carried by the words before the first difference", self.prefix.percent()),
        )
        return Table(f"{self.model}: captions and swaps, n = {self.prefers.n}", ("what", "percent [95 %]"), rows)


def swap_reading(
    model: DualEncoder,
    pictures: Sequence,
    captions: Sequence[str],
    others: Sequence[str],
    *,
    normalizer: str = "minmax",
) -> SwapReading:
    """How the local score reads captions against their swaps: pictures, captions, others (n,) each.

    In a causal tower words before the first difference have the same terms in both captions, and cancel where the two are
    compared; what they carry is no help (arXiv 2410.05210, eq. 8). Raises ValueError for unequal numbers.
    """
    if not len(pictures) == len(captions) == len(others):
        raise ValueError(f"{len(pictures)} pictures, {len(captions)} and {len(others)} captions; give as many of each")
    prefers, prefix = [], []
    for picture, caption, other in zip(pictures, captions, others, strict=True):
        own, wrong = (word_terms(model, picture, text, normalizer=normalizer) for text in (caption, other))
        alike = [a == b for a, b in zip(own.words, wrong.words, strict=False)]
        prefix.append(float(own.shares[: [*alike, False].index(False)].sum()))
        prefers.append(float(own.score > wrong.score))
    return SwapReading(model.name, bootstrap(prefers), bootstrap(prefix))


@dataclass(frozen=True)
class LengthBias(Record):
    """What a wording that says nothing adds to log S_l: gains[frame] in nats, beside its tokens and log of their ratio."""

    gains: Mapping[str, Interval]
    tokens: Mapping[str, float]

    def table(self) -> Table:
        first = next(iter(self.tokens.values()))
        rows = tuple(
            (frame, f"{self.tokens[frame]:.1f}", f"{math.log(self.tokens[frame] / first):+.2f}", str(gain))
            for frame, gain in self.gains.items()
        )
        n = next(iter(self.gains.values())).n
        header = ("wording", "tokens that count", "log of their ratio", "added to log S_l [95 %]")
        return Table(f"Longer captions of the same content, n = {n}", header, rows)


def length_bias(model: DualEncoder, pictures: Sequence, contents: Sequence[str], frames: Sequence[str]) -> LengthBias:
    """How log S_l grows with words that say nothing about the picture: each content in each frame ("{}" first).

    S_l is a sum over words without a division by their number (arXiv 2410.05210, eq. 8), so n equal words add log n: a longer
    negative starts ahead. Raises ValueError for no frames, or unequal numbers of pictures and contents.
    """
    if not frames or len(pictures) != len(contents):
        raise ValueError(
            f"{len(frames)} frames, {len(pictures)} pictures, {len(contents)} contents; give one content each"
        )
    image = model.encode_image(pictures, tokens=True).tokens
    scores, tokens = {}, {}
    for frame in frames:
        scores[frame], tokens[frame] = _local(model, image, [frame.format(each) for each in contents])
    first = scores[frames[0]]
    return LengthBias({frame: bootstrap(each - first) for frame, each in scores.items()}, tokens)


def _local(model: DualEncoder, image: Tensor, captions: Sequence[str]) -> tuple[Tensor, float]:
    text = model.encode_text(captions, tokens=True, keep_eos=True)
    scores = local_similarity(image, text.tokens, text.mask, model.logit_scale)
    return scores, float(text.mask.sum(1).double().mean())
