"""How good a model is, and how sure we are."""

from workbench.evaluation.composition import Choice as Choice
from workbench.evaluation.composition import choice_accuracy as choice_accuracy
from workbench.evaluation.retrieval import recall_at_k as recall_at_k
from workbench.evaluation.retrieval import retrieval_ranks as retrieval_ranks
from workbench.evaluation.similarity import PairScores as PairScores
from workbench.evaluation.similarity import pair_scores as pair_scores
from workbench.evaluation.statistics import Interval as Interval
from workbench.evaluation.statistics import bootstrap as bootstrap
