"""How much memory a model takes: predict it without loading anything, measure it in a process of its own, compare.

One rehearsal runs twice: on torch's meta device, where tensors have shapes but no bytes, and for real in a child.
Importing it imports no torch.
"""

from workbench.memory.plan import MemoryPlan, plan_memory

__all__ = ["MemoryPlan", "plan_memory"]
