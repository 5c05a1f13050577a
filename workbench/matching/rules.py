"""The scoring rules by name: how a picture and a caption become one number, from features of frozen towers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching import from_features as given
from workbench.matching.conditioned import conditioned_pooling, patch_pooling
from workbench.matching.crops import Regions, Segments
from workbench.matching.grouped import grouped_tokens
from workbench.matching.late import late_interaction
from workbench.matching.local import local_scores
from workbench.matching.structure import structure_guided
from workbench.matching.transport import transport_scores
from workbench.records import Record, Table

_TOKENS = "image_mask", "max_bytes"  # options of whatever compares patches
_LATE = (*_TOKENS, "dtype")
_MADE_BY = {
    "crops": (Regions, "matching.crop_features(model, pictures)"),
    "segments": (Segments, "matching.segment_features(model, captions)"),
}


@dataclass(frozen=True)
class Rule(Record):
    """One rule. `image` and `text` are what it reads of each side: "pooled", "tokens" (both where it reads both), "crops" or
    "segments"; `head` the class of the trained head it needs, or ""; `options` what `score` passes on to it."""

    name: str
    title: str
    image: tuple[str, ...]
    text: tuple[str, ...]
    formula: str
    source: str
    function: Callable[..., Tensor]
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    head: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Of "pooled", "tokens", "crops", "segments", "boxes" and "head", those without which it does not run."""
        boxes = ("boxes",) if "boxes" in self.required else ()
        return (*dict.fromkeys((*self.image, *self.text, *boxes)), *(("head",) if self.head else ()))

    def table(self) -> Table:
        told = {"reads": _reads(self), "formula": self.formula, "source": self.source}
        told |= {"options": ", ".join(self.options)} if self.options else {}
        return Table(f"{self.name}: {self.title}", ("what", "value"), tuple(told.items()))


def _reads(rule: Rule) -> str:
    head = f", and a trained {rule.head}" if rule.head else ""
    boxes = " with boxes" if "boxes" in rule.required else ""
    return f"{' and '.join(rule.image)}{boxes} × {' and '.join(rule.text)}{head}"


def rules_table() -> Table:
    """All rules: name, what it is, what it reads, formula, source."""
    rows = tuple((rule.name, rule.title, _reads(rule), rule.formula, rule.source) for rule in RULES.values())
    return Table("Scoring rules", ("rule", "what it is", "reads (picture × caption)", "formula", "source"), rows)


def score(
    rule: str,
    image: ImageFeatures | Regions,
    text: TextFeatures | Segments,
    *,
    head: torch.nn.Module | None = None,
    **options,
) -> Tensor:
    """Scores of N pictures against M captions by a rule of `RULES`: (N, M), higher is better.

    `image` is what `encode_image`, or `crop_features`, gave; `text` what `encode_text`, or `segment_features`, gave. `head` is
    the trained head of a rule that has one; `options` are the rule's own (`RULES[rule].options`), `max_bytes` among them.
    Scores of different rules are on different scales: compare within a rule. Raises ValueError for an unknown rule, missing
    tokens or head, NaN, and what the rule raises; TypeError for features of another kind, an option that the rule lacks, or a
    head that it does not take.
    """
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}; choose one of {', '.join(RULES)}")
    chosen = RULES[rule]
    _check_side(rule, "image", chosen.image, image, ImageFeatures)
    _check_side(rule, "text", chosen.text, text, TextFeatures)
    _check_extras(chosen, head, options)
    return _finite(rule, chosen.function(image, text, **({"head": head} if chosen.head else {}), **options))


def _check_side(rule: str, side: str, kinds: tuple[str, ...], features, general: type) -> None:
    expected, how = _MADE_BY.get(kinds[0], (general, f"model.encode_{side}(…)"))
    if not isinstance(features, expected):
        raise TypeError(
            f"rule {rule!r} reads {' and '.join(kinds)} on the {side} side, {expected.__name__} of {how}; "
            f"got {type(features).__name__}"
        )
    if "tokens" in kinds and features.tokens is None:
        raise ValueError(
            f"rule {rule!r} needs {side} tokens: encode_{side}(…, tokens=True), of a model that has them; rules that need none: "
            f"{', '.join(name for name, other in RULES.items() if 'tokens' not in other.needs)}"
        )


def _check_extras(rule: Rule, head, options: dict) -> None:
    if rule.head and head is None:
        raise ValueError(f"rule {rule.name!r} needs a trained head: score({rule.name!r}, …, head=a {rule.head})")
    if head is not None and not rule.head:
        raise TypeError(f"rule {rule.name!r} takes no head; leave head= out")
    surplus = [name for name in options if name not in rule.options]
    if surplus:
        raise TypeError(f"rule {rule.name!r} takes no {surplus[0]!r}; its options: {', '.join(rule.options) or 'none'}")
    lacking = [name for name in rule.required if name not in options]
    if lacking:
        raise ValueError(f"rule {rule.name!r} needs {lacking[0]}=; see matching.roi_features")


def _finite(rule: str, scores: Tensor) -> Tensor:
    if not torch.isfinite(scores).all():
        raise ValueError(
            f"rule {rule!r} gives NaN or infinity; look at the size of the features and at the rule's options"
        )
    return scores


_POOLED, _PARTS, _CROPS, _SEGMENTS = ("pooled",), ("tokens",), ("crops",), ("segments",)
_FREE = "exclusive", "background", "max_bytes"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "global",
            "global cosine",
            _POOLED,
            _POOLED,
            "⟨v, t⟩",
            "CLIP, arXiv 2103.00020",
            given.of_pooled,
        ),
        Rule(
            "late",
            "late interaction: each word takes its best patch",
            _PARTS,
            _PARTS,
            "(1/T) Σ_j max_i ⟨p_i, w_j⟩",
            "FILIP, arXiv 2111.07783, eq. 5; ColBERT, arXiv 2004.12832",
            partial(given.of_tokens, late_interaction),
            _LATE,
        ),
        Rule(
            "late_tokens",
            "late interaction: each patch takes its best word",
            _PARTS,
            _PARTS,
            "(1/P) Σ_i max_j ⟨p_i, w_j⟩",
            "FILIP, arXiv 2111.07783, eq. 4",
            partial(given.of_tokens, partial(late_interaction, max_over="tokens")),
            _LATE,
        ),
        Rule(
            "late_eos",
            "late interaction, the whole caption as one more word",
            _PARTS,
            ("tokens", "pooled"),
            "late over w_1 … w_T and t",
            "FILIP, arXiv 2111.07783, with the end-of-text token, which a CLIP pools",
            given.with_caption,
            _LATE,
        ),
        Rule(
            "segments",
            "patches of one pass × segments encoded alone",
            _PARTS,
            _SEGMENTS,
            "(1/K) Σ_k max_i ⟨p_i, g_k⟩",
            "control of arXiv 2506.09691: are crops needed?",
            partial(given.of_tokens, late_interaction),
            _LATE,
        ),
        Rule(
            "crops",
            "structure-guided inference: crops and segments, each encoded alone",
            _CROPS,
            _SEGMENTS,
            "(1/K) Σ_k max_r ⟨f(crop_r), g_k⟩",
            "arXiv 2506.09691; arXiv 2604.11496, section 3",
            structure_guided,
            _FREE,
        ),
        Rule(
            "roi",
            "boxes pooled from the patches of one pass × segments",
            _PARTS,
            _SEGMENTS,
            "(1/K) Σ_k max_r ⟨ROI-pool(P, box_r), g_k⟩",
            "control of arXiv 2506.09691, after ROI pooling, arXiv 1504.08083",
            given.of_boxes,
            ("boxes", "frames", "normalize", *_FREE),
            required=("boxes", "frames"),
        ),
        Rule(
            "grouped",
            "each word against the patches grouped for it",
            _PARTS,
            _PARTS,
            "(1/T) Σ_j cos(Σ_i a_ij p_i, w_j), a sparse min-max of ⟨p_i, w_j⟩",
            "SPARC, arXiv 2401.09865",
            partial(given.of_tokens, grouped_tokens),
            ("normalizer", *_TOKENS),
        ),
        Rule(
            "patch_pooling",
            "patches pooled by their cosine with the caption, not normalised",
            _PARTS,
            _POOLED,
            "⟨Σ_i a_i p_i, t⟩, a = softmax_i ⟨p_i, t⟩",
            "PACL, arXiv 2212.04994",
            partial(given.by_caption, patch_pooling),
            ("temperature", *_TOKENS),
        ),
        Rule(
            "text_pooling",
            "attention pooling with the caption as query, without parameters",
            _PARTS,
            _POOLED,
            "cos(Σ_i a_i p_i, t), a = softmax over [⟨p_i, t⟩/τ, 0]",
            "FLAIR, arXiv 2412.03561",
            partial(given.by_caption, conditioned_pooling),
            ("heads", "temperature", *_TOKENS),
        ),
        Rule(
            "phrase_pooling",
            "attention pooling with each segment as query, without parameters",
            _PARTS,
            _SEGMENTS,
            "(1/K) Σ_k cos(Σ_i a_ik p_i, g_k)",
            "C2LIP, arXiv 2603.25722",
            partial(given.of_tokens, conditioned_pooling),
            ("heads", "temperature", *_TOKENS),
        ),
        Rule(
            "local",
            "sum over words of how well the patches that answer say it, as a logarithm",
            _PARTS,
            _PARTS,
            "log Σ_j exp(s · cos(v̂_j, w_j)), v̂_j = Σ_i a_ij p_i, a min-max",
            "FSC-CLIP, arXiv 2410.05210, eq. 6 to 8",
            partial(given.of_tokens, local_scores),
            ("logit_scale", "normalizer", *_TOKENS),
        ),
        Rule(
            "transport",
            "entropic partial optimal transport of words to patches",
            _PARTS,
            _PARTS,
            "⟨Π, S⟩ + price · unmatched, Π = argmax ⟨Π, S⟩ + ε H(Π)",
            "Sinkhorn, arXiv 1306.0895; dustbins, arXiv 1911.11763",
            partial(given.of_tokens, transport_scores),
            ("epsilon", "price", "capacity", "balanced", "iterations", "tolerance", *_TOKENS),
        ),
        Rule(
            "linear_text",
            "global cosine after a linear map of the caption",
            _POOLED,
            _POOLED,
            "cos(v, A t)",
            "LABCLIP, arXiv 2502.03566",
            given.linear_text,
            head="heads.LinearTextMap",
        ),
        Rule(
            "dense_map",
            "a small CNN over the map of cosines",
            ("tokens", "pooled"),
            _PARTS,
            "CNN(⟨p_i, w_j⟩)",
            "DCSM, arXiv 2503.08723",
            given.dense_map,
            ("max_bytes",),
            head="heads.DenseMapCNN",
        ),
        Rule(
            "pair_transformer",
            "a transformer over patches and words of one pair",
            _PARTS,
            _PARTS,
            "w · Transformer([cls; E_I P; E_T W])_cls",
            "TFLocal, arXiv 2604.11496",
            given.pair_transformer,
            _TOKENS,
            head="heads.PairTransformer",
        ),
        Rule(
            "global_transformer",
            "the same transformer over the two global embeddings: the control of capacity",
            _POOLED,
            _POOLED,
            "w · Transformer([cls; E_I v; E_T t])_cls",
            "control of arXiv 2604.11496",
            given.global_transformer,
            ("max_bytes",),
            head="heads.GlobalPairTransformer",
        ),
    )
}
"""name → Rule, in the order in which a table shows them."""
