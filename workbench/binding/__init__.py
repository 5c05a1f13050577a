"""Who has which? Scorers of single pairs, trained on frozen features of swap quads that were computed once."""

from workbench.binding.encode import quad_features as quad_features
from workbench.binding.features import QuadFeatures as QuadFeatures
from workbench.binding.features import Side as Side
from workbench.binding.fitting import Fitted as Fitted
from workbench.binding.fitting import QuadConfig as QuadConfig
from workbench.binding.fitting import fit as fit
from workbench.binding.fitting import pair_loss as pair_loss
from workbench.binding.scoring import OnGlobals as OnGlobals
from workbench.binding.scoring import OnTokens as OnTokens
from workbench.binding.scoring import reranker as reranker
from workbench.binding.scoring import score_groups as score_groups
from workbench.binding.scoring import scores as scores
