"""The start page, top to bottom, in a fresh kernel."""

import shutil
import tempfile
from pathlib import Path

from timing import row, seconds

from workbench.notebooks import run_notebook

with tempfile.TemporaryDirectory() as folder:
    copy = Path(shutil.copy("notebooks/00_start_here.ipynb", folder))
    row("00_start_here, headless", f"{seconds(lambda: run_notebook(copy)):.0f} s", "≤ 60 s")
