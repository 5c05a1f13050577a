"""A model on a benchmark: features through `extract`, numbers through `evaluation`, items matched by id."""

from workbench.benchmark.choices import SubsetChoices as SubsetChoices
from workbench.benchmark.choices import choices as choices
from workbench.benchmark.choices import sugarcrepe_claim as sugarcrepe_claim
from workbench.benchmark.run import evaluate as evaluate
from workbench.benchmark.scores import BenchmarkScores as BenchmarkScores
from workbench.benchmark.scores import Measure as Measure
