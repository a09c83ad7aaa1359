"""The commands of docs/first_drive.md, as a reader types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first_drive.md"


def test_the_pages_commands_run_as_they_stand(tmp_path: Path) -> None:
    pytest.importorskip("embreex", reason="the toy town's ray caster is not installed")
    (commands,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    command = f'lidarloop() {{ "{sys.executable}" -m lidarloop_core.cli "$@"; }}\n'

    done = subprocess.run(
        ["bash", "-euc", command + commands], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "score" / "metrics.json").read_text())["mAP"] > 0.1
    assert json.loads((tmp_path / "labels" / "metrics.json").read_text())["mAP"] > 0.1
    assert list((tmp_path / "look").glob("*.png"))
    assert re.search(r"showing \d+ of \d+ boxes of the results, those with score", done.stdout)
