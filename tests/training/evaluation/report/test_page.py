"""The whole page in a real browser: two results, another benchmark's table, misses with camera pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lidarloop_core import cli
from lidarloop_core.io.results import write_results
from lidarloop_training.commands import evaluate as module
from tests.training.evaluation.synthetic_drive import detect, make_drive

OpenPage = Callable[[Path, Path], tuple[str, list[str]]]

pytestmark = pytest.mark.browser


def test_everything_is_seen_and_the_console_is_silent(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_drive(24, cameras=True)
    monkeypatch.setattr(module, "open_ground_truth", lambda path, kind=None, *, cameras=False: source)
    write_results(tmp_path / "a.json", detect(source, "world", noise_m=0.7), {"frame": "world"})
    write_results(tmp_path / "b.json", detect(source, "world", noise_m=0.2, seed=1), {"frame": "world"})
    options = ["--compare", str(tmp_path / "b.json"), "--metric", "waymo", "--resamples", "100"]
    assert cli.main(["evaluate", str(tmp_path / "a.json"), "drive.mcap", "--out", str(tmp_path), *options]) == 0

    page = tmp_path / "report.html"
    html = page.read_text()
    num_camera_pictures = html.count("data:image/jpeg;base64,")
    assert num_camera_pictures > 0
    assert len(html) < 5_000_000
    dom, console = open_page(page, tmp_path / "profile")
    # Three classes: their curves, both results' curves; four errors; six frames and six misses from above.
    num_plots = 3 + 3 + 4 + 6 + 6 + num_camera_pictures
    assert f'data-plots="{num_plots}/{num_plots}"' in dom
    assert console == []
    confusion = json.loads((tmp_path / "metrics.json").read_text())["confusion"]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", dom[dom.index('<table class="confusion">') :].split("</table>")[0])
    expected = [str(count or "·") for row in confusion["counts"] for count in row]
    assert cells == [*expected[:-1], ""]
