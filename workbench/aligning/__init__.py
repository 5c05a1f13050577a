"""Tie two frozen towers by light heads, on embeddings that were computed once (SAIL, arXiv 2412.04616)."""

from workbench.aligning.config import AlignConfig as AlignConfig
from workbench.aligning.fit import Aligned as Aligned
from workbench.aligning.fit import align as align
from workbench.aligning.job import load_head as load_head
from workbench.aligning.job import run_job as run_job
from workbench.aligning.job import save_head as save_head
from workbench.aligning.pairs import Pairs as Pairs
from workbench.aligning.pairs import matched as matched
from workbench.aligning.plan import AlignPlan as AlignPlan
from workbench.aligning.plan import plan_alignment as plan_alignment
