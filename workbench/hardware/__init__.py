"""What this machine can compute with: GPUs, CPU, memory, which dtypes are fast, and what to use for a model.

Importing it imports neither torch nor pynvml nor psutil.
"""

from workbench.hardware.cgroups import cgroup_cores, cgroup_memory
from workbench.hardware.cpu import Cpu, cpu_name, probe_cpu, usable_cores
from workbench.hardware.gpus import Gpu, probe_gpus, visible_devices
from workbench.hardware.memory import Memory, available_memory, probe_memory
from workbench.hardware.rates import Rate, fast_dtypes, measure_rate
from workbench.hardware.recommendation import Recommendation, batch_size, recommend
from workbench.hardware.report import HardwareReport, probe_hardware

__all__ = [
    "Cpu",
    "Gpu",
    "HardwareReport",
    "Memory",
    "Rate",
    "Recommendation",
    "available_memory",
    "batch_size",
    "cgroup_cores",
    "cgroup_memory",
    "cpu_name",
    "fast_dtypes",
    "measure_rate",
    "probe_cpu",
    "probe_gpus",
    "probe_hardware",
    "probe_memory",
    "recommend",
    "usable_cores",
    "visible_devices",
]
