"""What learned to read quads of one domain, and what that is worth in another: what `recipes/pair_heads.py` stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workbench.evaluation.statistics import Interval, percent
from workbench.records import Record, Table
from workbench.stored import intervals, one_of, stored_result

HEADS = "pair_heads.json"
HOME, HELD, AWAY = "domain A", "domain A, held out", "domain B"
EVERY = "all"


@dataclass(frozen=True, eq=False)
class LearnedScores(Record):
    """Group scores and their halves of what was trained on domain A, by budget ("equal steps", "equal time") and system.

    scores[budget][system][set][category][score] over quads, means of three seeds; category "all" is every category together.
    `frozen` has the same of the cosine and of crops, whose quads are fewer, `blind` of the local reader trained beside pictures
    of other quads. Differences are paired by quad. The trap: equal time
    is that of one machine and one core, and a scorer of pairs pays per pair where fine-tuned towers pay per item.
    """

    scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, Interval]]]]]
    frozen: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Interval]]]]
    differences: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Interval]]]]
    facts: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
    shortlists: Mapping[str, Mapping[str, Sequence[Mapping]]]
    blind: Mapping[str, Mapping[str, Mapping[str, Interval]]]

    @property
    def budgets(self) -> list[str]:
        return list(self.scores)

    def points(self, budget: str, category: str = EVERY, *, away: str = AWAY) -> dict[str, tuple[Interval, Interval]]:
        """name → group score at home and away: what `plots.transfer` draws. Raises ValueError for what was not measured."""
        every = {**self.frozen, **one_of(self.scores, budget, "budget")}
        return {
            name: tuple(one_of(one_of(sets, which, "set"), category, "category")["group"] for which in (HOME, away))
            for name, sets in every.items()
        }

    def gains(self, *what: str, budget: str, category: str = EVERY) -> dict[str, dict[str, Interval]]:
        """Differences of group scores by what they compare and set, for `plots.intervals`. Raises ValueError as `points`."""
        there = one_of(self.differences, budget, "budget")
        return {
            name: {which: each[category] for which, each in one_of(there, name, "difference").items()} for name in what
        }

    def shortlist(self, budget: str) -> dict[str, dict[int, tuple[Interval, ...]]]:
        """Head → length of the shortlist → R@1 of captions after re-ranking, by seed: what `plots.shortlist` draws."""
        return {
            head: {int(k): tuple(intervals(each["at"][k]["recall"]) for each in seeds) for k in seeds[0]["at"]}
            for head, seeds in one_of(self.shortlists, budget, "budget").items()
        }

    def reached(self, budget: str) -> dict[int, tuple[Interval, ...]]:
        """Length of the shortlist → share of captions whose picture is on it, by seed: what no order of it can exceed."""
        first = next(iter(one_of(self.shortlists, budget, "budget").values()))
        return {int(k): tuple(intervals(each["at"][k]["reached"]) for each in first) for k in first[0]["at"]}

    def table(self) -> Table:
        """Group scores of all categories by system, budget and set, beside weights, steps and seconds."""
        rows = [("–", name, "–", "–", "–", *_cells(sets)) for name, sets in self.frozen.items()]
        for budget, systems in self.scores.items():
            for name, sets in systems.items():
                rows.append((budget, name, *_cost(self.facts[budget][name]), *_cells(sets)))
        rows.append(("equal steps, one seed", "local, without its pictures", "–", "–", "–", *_cells(self.blind)))
        n = self.frozen["cosine"][HOME][EVERY]["group"].n
        header = ("budget", "system", "weights", "steps, by seed", "seconds, by seed", HOME, HELD, AWAY)
        return Table(f"Group score, percent [95 %], n = {n:,} (crops fewer), chance 16.7", header, tuple(rows))


def measured_heads() -> LearnedScores:
    """What `recipes/pair_heads.py` stored."""
    return learned_scores(stored_result(HEADS)["rows"])


def learned_scores(rows: Mapping) -> LearnedScores:
    """Of the rows of the stored result."""
    trained = rows["trained"]

    def every(pick: Callable[[Mapping], object], has: str = "sets") -> dict:
        return {
            budget: {name: pick(each) for name, each in systems.items() if has in each}
            for budget, systems in trained.items()
        }

    return LearnedScores(
        every(lambda each: intervals(each["sets"])),
        {name: intervals(sets) for name, sets in rows["frozen"].items()},
        {budget: intervals(each) for budget, each in rows["differences"].items()},
        every(lambda each: {fact: each[fact] for fact in ("parameters", "steps", "seconds", "loss")}),
        every(lambda each: each["two_stage"], has="two_stage"),
        intervals(rows["blind"]),
    )


def _cells(sets: Mapping) -> tuple[str, ...]:
    found = (sets[which][EVERY]["group"] for which in (HOME, HELD, AWAY))
    return tuple(percent(each.mean, (each.low, each.high), digits=1) for each in found)


def _cost(facts: Mapping[str, Sequence[float]]) -> tuple[str, str, str]:
    steps, seconds = (" / ".join(f"{each:.0f}" for each in facts[name]) for name in ("steps", "seconds"))
    return f"{facts['parameters'][0]:,}", steps, seconds
