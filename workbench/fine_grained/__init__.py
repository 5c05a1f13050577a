"""Fine-grained alignment at inference (arXiv 2604.11496): is it the representation, or how it is read?"""

from workbench.fine_grained.diagnostic import CONTROLS as CONTROLS
from workbench.fine_grained.diagnostic import FREE as FREE
from workbench.fine_grained.diagnostic import SCORERS as SCORERS
from workbench.fine_grained.diagnostic import corrupted as corrupted
from workbench.fine_grained.diagnostic import diagnose as diagnose
from workbench.fine_grained.diagnostic import rule_scores as rule_scores
from workbench.fine_grained.folder import FolderRules as FolderRules
from workbench.fine_grained.folder import folder_rules as folder_rules
from workbench.fine_grained.heads import HEADS as HEADS
from workbench.fine_grained.heads import LearnedScores as LearnedScores
from workbench.fine_grained.heads import measured_heads as measured_heads
from workbench.fine_grained.parts import QuadParts as QuadParts
from workbench.fine_grained.parts import quad_parts as quad_parts
from workbench.fine_grained.photos import PhotoDiagnostic as PhotoDiagnostic
from workbench.fine_grained.photos import measured_photos as measured_photos
from workbench.fine_grained.published import PAPER as PAPER
from workbench.fine_grained.stored import RESULT as RESULT
from workbench.fine_grained.stored import CropCosts as CropCosts
from workbench.fine_grained.stored import Diagnostic as Diagnostic
from workbench.fine_grained.stored import measured_costs as measured_costs
from workbench.fine_grained.stored import measured_diagnostic as measured_diagnostic
