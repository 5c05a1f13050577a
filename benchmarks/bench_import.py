"""`import workbench` is light: beside starting Python at all."""

import subprocess
import sys

from timing import in_turn, row


def python(code: str):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


ours, bare, ratio = in_turn(python("import workbench"), python("pass"), repeats=15)
row("import workbench, beside starting Python", f"{ours - bare:.3f} s more, ratio {ratio:.2f}", "≤ 0.3 s more")
heavy = "import sys, workbench; sys.exit('torch' in sys.modules or 'plotly' in sys.modules)"
light = subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
row("import workbench leaves torch and plotly alone", str(light), "True")
