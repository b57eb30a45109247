"""`python -m benchmarks`: one benchmark after the other, a process each, then the README."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import report

for name in report.NAMES:
    print(f"benchmarks.{name} …", flush=True)
    if code := subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
        sys.exit(code)
report.main()
print(f"results written to {report.PAGE.parent.name}/README.md")
