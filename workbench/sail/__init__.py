"""SAIL (arXiv 2412.04616): what was published, what was measured here, what is exact, and what waits for weights."""

from workbench.sail.exact import exact_claims as exact_claims
from workbench.sail.exact import loss_scales as loss_scales
from workbench.sail.published import BARS as BARS
from workbench.sail.published import COSINES as COSINES
from workbench.sail.published import PAPER as PAPER
from workbench.sail.published import RUNGS as RUNGS
from workbench.sail.published import Bar as Bar
from workbench.sail.published import Rung as Rung
from workbench.sail.stored import EDGES as EDGES
from workbench.sail.stored import NAMING as NAMING
from workbench.sail.stored import PLACES as PLACES
from workbench.sail.stored import RESULT as RESULT
from workbench.sail.stored import SCORES as SCORES
from workbench.sail.stored import Ladder as Ladder
from workbench.sail.stored import PairCosines as PairCosines
from workbench.sail.stored import Spread as Spread
from workbench.sail.stored import SwapBars as SwapBars
from workbench.sail.stored import measured_bars as measured_bars
from workbench.sail.stored import measured_cosines as measured_cosines
from workbench.sail.stored import measured_ladder as measured_ladder
from workbench.sail.weights import published_claims as published_claims
from workbench.sail.weights import published_winoground as published_winoground
