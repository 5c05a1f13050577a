"""What stored results hold, as records take it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from workbench import paths
from workbench.evaluation.composition import Groups
from workbench.evaluation.statistics import Interval


def stored_result(name: str) -> dict:
    return json.loads((paths.assets() / "results" / name).read_text(encoding="utf-8"))


def intervals(found: Mapping):
    """The same nesting, with an `Interval` where mean, low, high and n stand."""
    if "low" in found:
        return Interval(*(found[key] for key in ("mean", "low", "high", "n")))
    return {name: intervals(each) for name, each in found.items()}


def groups_of(found: Mapping[str, Sequence[float]], n: int) -> Groups:
    """Of each score [mean, low, high, share of ties, …]."""
    means = {name: entry[0] for name, entry in found.items()}
    ends = {name: (entry[1], entry[2]) for name, entry in found.items()}
    return Groups(**means, n=n, intervals=ends, tie_rates={name: entry[3] for name, entry in found.items()})


def one_of(there: Mapping, key, what: str):
    """`there[key]`. Raises ValueError that says what else there is."""
    if key not in there:
        raise ValueError(f"no {what} {key!r}; there are {', '.join(map(str, there))}")
    return there[key]
