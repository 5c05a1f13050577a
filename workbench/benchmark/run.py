"""A model on any benchmark."""

from __future__ import annotations

from workbench.benchmark.blind import blind_measures
from workbench.benchmark.encoded import Encoded
from workbench.benchmark.rules import RULES
from workbench.benchmark.scores import BenchmarkScores
from workbench.data.benchmarks import Benchmark
from workbench.models.dual_encoder import DualEncoder


def evaluate(
    model: DualEncoder, benchmark: Benchmark, *, blind: bool = True, store=None, batch_size: int = 32
) -> BenchmarkScores:
    """A model's scores on a benchmark by the rule of its authors, ties wrong. `store` and `batch_size` as in `embeddings`.

    `blind`: beside each stands what scorers that do not look earn by the same rule on the same items. Raises TypeError for
    what is no Benchmark, ValueError where none of its items can be read, or for a feature without direction.
    """
    if not isinstance(benchmark, Benchmark):
        raise TypeError(
            f"{type(benchmark).__name__} is no Benchmark; give load_benchmark(name), or use choices(model, items)"
        )
    encoded = Encoded(model, benchmark.items, store=store, batch_size=batch_size)
    rule = RULES[benchmark.rule]
    measures, notes, scores = rule(encoded, benchmark)
    beside = blind_measures(rule, encoded, benchmark) if blind else {}
    left_out = dict(benchmark.skipped)
    if unread := len(benchmark) - len(encoded.whole):
        left_out["could not be read"] = unread
    ids = tuple(item.id for item in encoded.whole)
    notes = (*benchmark.notes, *notes)
    return BenchmarkScores(model.name, benchmark.name, measures, left_out, notes, ids, scores, beside)
