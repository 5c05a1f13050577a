"""A batch's memory, measured in a process of its own, beside what was predicted from shapes."""

from timing import row

import workbench as wb

for name, training in (("lite0-minilm", False), ("lite2-minilm", False), ("lite2-minilm", True)):
    plan = wb.plan_memory(name, 32, training=training, device="cpu")
    if plan.measured is None:
        row(name, f"not measured: {'; '.join(plan.notes)}", "1.0 to 1.5")
        continue
    measured = f"{plan.measured / 2**20:.0f} MiB, predicted {plan.predicted / 2**20:.0f} MiB, ratio {plan.ratio:.2f}"
    row(f"{name}: {'training' if training else 'inference'}, batch 32", measured, "1.0 to 1.5")
