"""Alignment Workbench: look inside CLIP-like models.

Public names are loaded on first use: `import workbench` imports neither torch nor plotly.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# public name → module that defines it; a name without a module is itself a submodule
_NAMES = {
    "probe_hardware": "hardware",
    "plan_memory": "memory",
    "list_models": "models.registry",
    "load_model": "models.registry",
    "pair": "models.paired",
    "image_tower": "models.towers",
    "text_tower": "models.towers",
    "AlignmentPanel": "panels.alignment",
    "SegmentsPanel": "panels.segments",
    "SpectrumPanel": "panels.spectrum",
    "TrainingPanel": "panels.training",
    "train_small_clip": "small_clip",
    "load_benchmark": "data.benchmarks",
    "list_benchmarks": "data.benchmarks",
}
_MODULES = (
    "alignability",
    "aligning",
    "benchmark",
    "binding",
    "claims",
    "controlled",
    "data",
    "evaluation",
    "extract",
    "features",
    "fine_grained",
    "hackability",
    "hardware",
    "heads",
    "intra_modal",
    "inversion",
    "losses",
    "matching",
    "memory",
    "models",
    "optim",
    "panels",
    "plots",
    "sail",
    "spectral",
    "store",
    "training",
)

__all__ = [*_NAMES, *_MODULES]


def __getattr__(name: str):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"workbench.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"workbench.{name}")
    else:
        raise AttributeError(f"workbench has no {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
