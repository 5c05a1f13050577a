"""A model on retrieval within one modality, and what is stored of the shipped ones."""

from workbench.intra_modal.published import cub as cub
from workbench.intra_modal.published import cub_claim as cub_claim
from workbench.intra_modal.run import CHOSEN as CHOSEN
from workbench.intra_modal.run import SHARES as SHARES
from workbench.intra_modal.run import Features as Features
from workbench.intra_modal.run import IntraModal as IntraModal
from workbench.intra_modal.run import encoded as encoded
from workbench.intra_modal.run import measure as measure
from workbench.intra_modal.run import measure_features as measure_features
from workbench.intra_modal.run import named_bands as named_bands
from workbench.intra_modal.stored import RESULT as RESULT
from workbench.intra_modal.stored import measured as measured
from workbench.intra_modal.stored import measured_cost as measured_cost
