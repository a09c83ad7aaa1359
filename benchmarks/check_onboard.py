"""What the stack on the vehicle promises, measured: prints a table and writes out/checks/onboard.json.

python -m benchmarks.check_onboard                 # exits 1 if a row falls short; FULL=1 runs the long soak anew
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, run_checks
from benchmarks.onboard.faults import check_faults
from benchmarks.onboard.labelling import check_live_labels
from benchmarks.onboard.load import check_overhead, check_soak
from benchmarks.onboard.transport import check_transport


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/onboard.json; the exit code is 1 if one falls short.

    Args:
        data: not needed; every check command takes it.
        out: folder to write to.
    """
    checks = (check_overhead, check_transport, check_live_labels, check_soak, check_faults)
    return run_checks("onboard", checks, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
