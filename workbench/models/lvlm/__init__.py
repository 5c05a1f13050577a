"""Generative vision–language models read as dual encoders: `lvlm:<org>/<repo or folder>`, the LLaVA and Qwen2-VL families."""

from workbench.models.lvlm.encoder import LvlmEncoder as LvlmEncoder
from workbench.models.lvlm.encoder import NextTokens as NextTokens
from workbench.models.lvlm.encoder import SummaryAttention as SummaryAttention
from workbench.models.lvlm.loading import load_lvlm as load_lvlm
from workbench.models.lvlm.loading import skeleton_lvlm as skeleton_lvlm
from workbench.models.lvlm.prompts import PRESETS as PRESETS
from workbench.models.lvlm.prompts import Prompts as Prompts
from workbench.models.lvlm.saving import save_lvlm as save_lvlm
