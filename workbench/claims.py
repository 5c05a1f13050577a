"""What somebody claims, what we measured, and the verdict that follows from the numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from workbench.records import Record, Table, plain_markdown

HOW = """A verdict is computed. *Reproduced*: the interval, and every seed, lies where the paper's claim puts it. *Contradicted*:
the whole interval lies elsewhere. *Not at this scale*: neither can be told here. *Needs weights*: a model or data set is
missing."""
VERDICTS = ("reproduced", "not at this scale", "contradicted", "needs weights")


@dataclass(frozen=True)
class Claim:
    """One claim with its measurement; `verdict` is computed, never typed in.

    kind "direction": the sign of `expected` is claimed (the paper's number, or 1 or -1 where it has none); "equivalence":
    |measured - expected| ≤ margin over the whole interval; "exact": |measured - expected| ≤ margin. `seeds` holds the
    measurement of every seed, `interval` the 95 % interval over n items, `scale` what was measured on. `measured` None: a
    model or data set is missing here.
    """

    id: str
    paper: str
    statement: str
    kind: Literal["direction", "equivalence", "exact"]
    expected: float
    measured: float | None
    n: int
    seeds: tuple[float, ...]
    interval: tuple[float, float] | None
    scale: str
    margin: float = 0.0

    def __post_init__(self):
        if self.kind not in ("direction", "equivalence", "exact"):
            raise ValueError(f"claim {self.id}: kind {self.kind!r}; choose direction, equivalence or exact")
        if self.kind == "direction" and self.expected == 0:
            raise ValueError(f"claim {self.id}: a direction needs an expected value with a sign, not 0")
        if self.measured is not None and self.kind != "exact" and self.interval is None:
            raise ValueError(f"claim {self.id}: a measured {self.kind} needs its interval; use evaluation.bootstrap")

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "needs weights"
        return {"direction": self._direction, "equivalence": self._equivalence, "exact": self._exact}[self.kind]()

    def _direction(self) -> str:
        sign = 1 if self.expected > 0 else -1
        low, high = sorted(sign * end for end in self.interval)
        if low > 0 and all(sign * seed > 0 for seed in self.seeds):
            return "reproduced"
        return "contradicted" if high < 0 else "not at this scale"

    def _equivalence(self) -> str:
        low, high = self.interval
        if self.expected - self.margin <= low and high <= self.expected + self.margin:
            return "reproduced"
        outside = low > self.expected + self.margin or high < self.expected - self.margin
        return "contradicted" if outside else "not at this scale"

    def _exact(self) -> str:
        return "reproduced" if abs(self.measured - self.expected) <= self.margin else "contradicted"


@dataclass(frozen=True)
class Ledger(Record):
    """Claims of one notebook, or of all."""

    claims: tuple[Claim, ...]
    title: str = "Ledger"

    def counts(self) -> dict[str, int]:
        found = Counter(claim.verdict for claim in self.claims)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    def table(self) -> Table:
        header = ("claim", "statement", "expected", "measured [95 %]", "n, seeds", "scale", "verdict")
        return Table(self.title, header, tuple(_row(claim) for claim in self.claims))

    @classmethod
    def stored(cls, file: str | Path) -> Ledger:
        """The ledger inside a stored result. Raises ValueError for a file without claims."""
        stored = json.loads(Path(file).read_text(encoding="utf-8"))
        if "claims" not in stored:
            raise ValueError(f"{file} holds no claims; its keys are {sorted(stored)}")
        claims = tuple(_restored(claim) for claim in stored["claims"])
        return cls(claims, stored.get("title", Path(file).stem))


def ledgers(folder: str | Path) -> list[Ledger]:
    """The ledgers of all results in a folder, by file name; results that are measurements alone have none."""
    files = sorted(Path(folder).glob("*.json"))
    return [Ledger.stored(file) for file in files if "claims" in json.loads(file.read_text(encoding="utf-8"))]


def markdown(found: Iterable[Ledger]) -> str:
    """Every ledger as a page for people: counts, and a row for each claim."""
    found = list(found)
    whole = Ledger(tuple(claim for ledger in found for claim in ledger.claims))
    counts = ", ".join(f"{n} {verdict}" for verdict, n in whole.counts().items())
    lines = [
        "# Claims",
        "",
        f"Written by `make reproduce` from the stored results. {len(whole.claims)} claims: {counts}.",
        "",
        HOW,
    ]
    for ledger in found:
        papers = ", ".join(dict.fromkeys(claim.paper for claim in ledger.claims))
        told = ", ".join(f"{n} {verdict}" for verdict, n in ledger.counts().items())
        lines += [
            "",
            f"## {plain_markdown(ledger.title)}",
            "",
            f"{plain_markdown(papers)}: {told}.",
            "",
            ledger.table().markdown(),
        ]
    return "\n".join([*lines, ""])


def to_json(claim: Claim) -> dict:
    """A claim as plain JSON, its verdict beside it for readers of the file."""
    return {**asdict(claim), "verdict": claim.verdict}


def _restored(stored: dict) -> Claim:
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key != "verdict"
    }
    return Claim(**fields)


def _row(claim: Claim) -> tuple[str, ...]:
    measured = "–" if claim.measured is None else f"{claim.measured:+.3f}"
    if claim.interval is not None:
        measured += f" [{claim.interval[0]:+.3f}, {claim.interval[1]:+.3f}]"
    expected = f"{claim.expected:+.4g}"
    if claim.kind == "direction":  # 1 stands for a sign without a number
        sign = "above 0" if claim.expected > 0 else "below 0"
        expected = sign if abs(claim.expected) == 1 else f"{sign} ({expected})"
    return (claim.id, claim.statement, expected, measured, f"{claim.n}, {len(claim.seeds)}", claim.scale, claim.verdict)
