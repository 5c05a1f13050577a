"""What was read under each prompt: records for plots, the claim that openness and retrieval go together, what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workbench.data.scenes.asking import ASKED_ABOUT
from workbench.evaluation.statistics import Correlation, Interval, spearman
from workbench.records import Record, Table
from workbench.stored import one_of, stored_result

RESULT = "prompts.json"
PICTURES, CAPTIONS = "pictures", "captions"
TO_TEXT, TO_PICTURE = "picture → text", "text → picture"


@dataclass(frozen=True)
class SideReading:
    """One modality under one prompt.

    `entropy` of the next token in nats, a mean over inputs; `information` what the next token says about its input, in nats: the
    entropy of the inputs' mean distribution less `entropy`; `tokens` and `probabilities` the likeliest of that mean; `recall` R@1
    with this modality as queries; `rank` and `variance`: `effective_dimensions` and `explained_variance` of its unit embeddings.
    """

    entropy: Interval
    information: float
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    recall: Interval
    rank: float
    variance: tuple[float, ...]

    @property
    def next_words(self) -> tuple[tuple[str, ...], tuple[float, ...], float]:
        """What `plots.next_tokens` draws."""
        return self.tokens, self.probabilities, self.entropy.mean


@dataclass(frozen=True)
class PromptReading:
    """Both modalities under one prompt; `entropy` is of the mean of a picture's and its caption's, over pairs."""

    pictures: SideReading
    captions: SideReading
    entropy: Interval

    @property
    def rank(self) -> float:
        """The mean of both modalities' effective ranks."""
        return (self.pictures.rank + self.captions.rank) / 2

    @property
    def information(self) -> float:
        """The mean of both modalities'."""
        return (self.pictures.information + self.captions.information) / 2


@dataclass(frozen=True)
class PromptReadings(Record):
    """rows[prompt] of one model and the same n pairs; `chance` is what R@1 is of random embeddings."""

    model: str
    rows: Mapping[str, PromptReading]
    n: int
    chance: float

    def only(self, names: Iterable[str]) -> PromptReadings:
        """The readings of these prompts, in this order. Raises ValueError for one that is not there."""
        return PromptReadings(
            self.model, {each: one_of(self.rows, each, "prompt") for each in names}, self.n, self.chance
        )

    def by_entropy(self) -> list[str]:
        """Prompts in rising order of both modalities' mean entropy."""
        return sorted(self.rows, key=lambda name: self.rows[name].entropy.mean)

    def entropies(self) -> dict[str, list[Interval]]:
        """By modality, a value for each prompt: what `plots.prompt_entropy` draws."""
        return {
            PICTURES: [row.pictures.entropy for row in self.rows.values()],
            CAPTIONS: [row.captions.entropy for row in self.rows.values()],
        }

    def mean_entropies(self) -> list[Interval]:
        return [row.entropy for row in self.rows.values()]

    def recalls(self) -> dict[str, list[Interval]]:
        """By direction, a value for each prompt: with `mean_entropies` what `plots.entropy_recall` draws."""
        return {
            TO_TEXT: [row.pictures.recall for row in self.rows.values()],
            TO_PICTURE: [row.captions.recall for row in self.rows.values()],
        }

    def curves(self) -> dict[str, dict[str, tuple[tuple[float, ...], float]]]:
        """By modality and prompt: what `plots.explained_variance` draws."""
        return {
            PICTURES: {name: (row.pictures.variance, row.pictures.rank) for name, row in self.rows.items()},
            CAPTIONS: {name: (row.captions.variance, row.captions.rank) for name, row in self.rows.items()},
        }

    def table(self) -> Table:
        """By rising entropy."""
        rows = tuple((name, *_cells(self.rows[name])) for name in self.by_entropy())
        header = (
            "prompt",
            "entropy, pictures",
            "captions",
            "information",
            f"R@1 {TO_TEXT}",
            TO_PICTURE,
            "effective rank, pictures",
        )
        caption = (
            f"{self.model}, n = {self.n:,}: entropy in nats, R@1 in percent (chance {100 * self.chance:.1f}) [95 %]"
        )
        return Table(caption, (*header, "captions"), rows)


def _cells(row: PromptReading) -> tuple[str, ...]:
    sides = row.pictures, row.captions
    entropy, recall = ([getattr(side, name) for side in sides] for name in ("entropy", "recall"))
    return (
        *map(str, entropy),
        f"{row.information:.2f}",
        *(each.percent() for each in recall),
        *(f"{side.rank:.1f}" for side in sides),
    )


# Claim V2 ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EntropyCorrelations(Record):
    """Spearman's r over prompts of `what` with each measure; `grouped` with the interval over whole groups of prompts."""

    model: str
    what: str
    over_prompts: Mapping[str, Correlation]
    grouped: Mapping[str, Correlation] | None = None
    groups: int | None = None

    def table(self) -> Table:
        rows = [(name, *_told(found), *self._over_groups(name)) for name, found in self.over_prompts.items()]
        n = next(iter(self.over_prompts.values())).n
        header = (f"{self.what} and", "r [95 % over prompts]", "without any one prompt")
        more = () if self.grouped is None else (f"[95 % over {self.groups} groups]",)
        return Table(f"{self.model}: Spearman's correlation over {n} prompts", (*header, *more), tuple(rows))

    def _over_groups(self, name: str) -> tuple[str, ...]:
        return () if self.grouped is None else ("[{0.low:.3f}, {0.high:.3f}]".format(self.grouped[name]),)


def _told(found: Correlation) -> tuple[str, str]:
    return f"{found.r:.3f} [{found.low:.3f}, {found.high:.3f}]", "{:.3f} to {:.3f}".format(*found.leave_one_out)


def entropy_against_retrieval(readings: PromptReadings, *, groups: Sequence[str] | None = None) -> EntropyCorrelations:
    """Do prompts that leave the next word more open retrieve better, and spread embeddings over more directions?

    Claim of VladVA (arXiv 2412.04378, figures 2, 3 and 5): both correlations are positive. Mean entropy and effective rank are of
    both modalities. The trap: prompts that share a task are no independent items, so the interval over prompts is too narrow;
    `groups` names each prompt's task, and whole tasks are drawn as well then (with few of them that interval is rough, too).
    Raises ValueError for fewer than three prompts, a measure that does not vary, or groups that are not one a prompt.
    """
    return _against(readings, "entropy", [each.mean for each in readings.mean_entropies()], groups)


def information_against_retrieval(
    readings: PromptReadings, *, groups: Sequence[str] | None = None
) -> EntropyCorrelations:
    """The same of what the next word says about its input, which is ours: entropy also counts how a sentence may begin, which
    says nothing of the picture. Arguments and errors as of `entropy_against_retrieval`."""
    return _against(readings, "information", [row.information for row in readings.rows.values()], groups)


def _against(readings: PromptReadings, what: str, values: Sequence[float], groups) -> EntropyCorrelations:
    measures = {f"R@1, {way}": [each.mean for each in found] for way, found in readings.recalls().items()}
    measures["effective rank"] = [row.rank for row in readings.rows.values()]
    over_prompts = {name: spearman(values, each) for name, each in measures.items()}
    if groups is None:
        return EntropyCorrelations(readings.model, what, over_prompts)
    grouped = {name: spearman(values, each, groups=groups) for name, each in measures.items()}
    return EntropyCorrelations(readings.model, what, over_prompts, grouped, len(set(groups)))


# What recipes/measure_prompts.py stored ---------------------------------------------------------------------------------


def stored_prompts(about: str | None = None) -> PromptReadings:
    """68 wordings that scenes-lvlm learned from, and the public ones, as `recipes/measure_prompts.py` stored them.

    `about` "picture" or "image" keeps those that call it so, beside the public ones. Raises ValueError for another word.
    """
    found = stored_result(RESULT)["readings"]
    readings = PromptReadings(**{**found, "rows": {name: reading_of(row) for name, row in found["rows"].items()}})
    return readings.only(_about(readings.rows, about))


def stored_tasks(about: str | None = None) -> tuple[str, ...]:
    """What each prompt of `stored_prompts` asks for, in its order: groups of `entropy_against_retrieval`."""
    stored = stored_result(RESULT)
    return tuple(stored["tasks"][name] for name in _about(stored["readings"]["rows"], about))


def _about(names: Iterable[str], what: str | None) -> list[str]:
    nouns = ASKED_ABOUT["image"]
    if what is not None and what not in nouns:
        raise ValueError(f"about={what!r}; choose one of {', '.join(nouns)}, or None for both")
    others = [] if what is None else [f" {noun}" for noun in nouns if noun != what]
    return [name for name in names if not any(other in name for other in others)]


def reading_of(row: Mapping) -> PromptReading:
    """What `asdict` made of a reading."""
    return PromptReading(_stored_side(row["pictures"]), _stored_side(row["captions"]), Interval(**row["entropy"]))


def _stored_side(found: Mapping) -> SideReading:
    lists = {name: tuple(found[name]) for name in ("tokens", "probabilities", "variance")}
    each = {name: Interval(**found[name]) for name in ("entropy", "recall")}
    return SideReading(**{**found, **lists, **each})
