"""Fine-tuning with hard negatives: what it teaches of composition, and what it must not break (FSC-CLIP, arXiv 2410.05210)."""

from workbench.fine_tuning.adapters import PARTS as PARTS
from workbench.fine_tuning.config import SETTINGS as SETTINGS
from workbench.fine_tuning.config import FineTuneConfig as FineTuneConfig
from workbench.fine_tuning.evaluation import TradeOff as TradeOff
from workbench.fine_tuning.evaluation import Trial as Trial
from workbench.fine_tuning.online import online_negatives as online_negatives
from workbench.fine_tuning.pairs import Pairs as Pairs
from workbench.fine_tuning.run import FineTuned as FineTuned
from workbench.fine_tuning.run import fine_tune as fine_tune
from workbench.fine_tuning.saving import save_model as save_model
from workbench.fine_tuning.stored import Ablation as Ablation
from workbench.fine_tuning.stored import measured_ablation as measured_ablation
from workbench.fine_tuning.wise import interpolate as interpolate
from workbench.fine_tuning.wise import wise_ft as wise_ft
