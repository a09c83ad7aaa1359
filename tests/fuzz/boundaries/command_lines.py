"""Command lines: words left out, repeated or exchanged; files of the wrong kind; destinations that are taken."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from lidarloop_core import cli
from lidarloop_core.errors import LidarloopError
from lidarloop_core.io.results import write_results
from lidarloop_core.model.model_file import write_model
from tests.builders import make_spec
from tests.fuzz import mutate, trees
from tests.fuzz.networks import mean_network
from tests.fuzz.ros_messages import bag_bytes

# No large finite numbers: who asks for a drive of a billion seconds may wait for it.
WORDS = (
    "", "nan", "inf", "-inf", "-1", "0", "1e-9", "0.5", "1e400", "None", "true", "x", "[1]", "x" * 300, "é", "--", "-",
    "--help", "--nonsense", "missing", "a b", "../in", "/dev/zero", "/dev/null", "\n", "\udcff", *mutate.PATHS[3:6],
)  # fmt: skip

# "@name" is a file among the inputs, ">name" a destination, which stays where writing is asked for.
LINES = tuple(
    line.split()
    for line in (
        "convert bag @drive.mcap >bag.mcap",
        "convert bag @drive.mcap >tables --keyframe-every 2 --sweeps-per-keyframe 1",
        "convert bag @broken.mcap >saved.mcap --salvage",
        "convert bag @drive.mcap >bag.mcap --points-topic /lidar/points --odometry-topic /odom",
        "convert kitti-raw @folder >bag.mcap --no-cameras",
        "convert nuscenes @folder >bag.mcap --overwrite",
        "evaluate @results.json @drive.mcap --out >report",
        "evaluate @results.json @drive.mcap --out >report --compare @results.json --pictures 1 --bootstrap 10",
        "pseudolabel bag @drive.mcap --sensors lidar --out >labels --every 2 --segment-frames 2",
        "pseudolabel bag @drive.mcap --mask-model masks --masks.file @results.json --out >labels",
        "view bag @drive.mcap --png >sheets --frames 1 --range-m 20 --min-score 0.3",
        "view bag @drive.mcap --results @results.json --save >view.rrd --frames 1",
        "export @folder >model.onnx",
        "optimise @model.onnx >small.onnx --precision fp16",
        "parity @model.onnx --frames 1 --json >parity.json",
        "corrections send bag @drive.mcap --results @results.json --out >task --min-score 0.5",
        "corrections receive @results.json --out >back.json",
        "train pillar-drives --data.train bag @missing --run.out >run --optimisation.batch-size 0",
        "train pillar-toytown --spec.pillar-size-m 0 0 --run.out >run",
        "self-train @folder --out >run",
        "adapt @folder bag @drive.mcap --out >run --rounds 0",
        "doctor @model.onnx --json >doctor.json",
        "bench inference --model @missing --json >bench.json",
        "build-engine @model.onnx --cache >cache",
        "replay @missing.mcap --model @model.onnx --out >replay --rate 1 --odometry-topic /odom",
        "replay @drive.mcap --model @missing.onnx --out >replay",
    )
)


class Refused(LidarloopError):
    """What the command printed before it ended with 1 or 2."""


@cache
def _inputs() -> trees.Tree:
    spec = make_spec()
    boxes = {trees.STREET[i].token: trees.STREET[i].annotations.boxes for i in range(2)}
    named = {str(trees.STREET[i].stamp_ns): found for i, found in enumerate(boxes.values())}
    tree = trees.tree_of(lambda root: write_results(root / "results.json", named, {"frame": "lidar"}))
    tree |= trees.tree_of(lambda root: write_model(root / "model.onnx", mean_network(spec), spec))
    tree |= {
        "drive.mcap": bag_bytes(),
        "broken.mcap": bag_bytes()[:-3000],
        "empty.json": b"",
        "list.json": b"[1]",
    }
    return tree


def case(rng: Random, folder: Path) -> Callable[[], object]:
    inputs, out = folder / "in", folder / "out"
    trees.write_tree(_inputs(), inputs)
    (inputs / "folder").mkdir()
    if rng.random() < 0.1:
        (out / "report").write_text("taken")
        (out / "bag.mcap").write_text("taken")
    words = list(rng.choice(LINES))
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        _change(rng, words)
    arguments = [_placed(word, inputs, out) for word in words]
    return lambda: _run(arguments)


def _change(rng: Random, words: list[str]) -> None:
    i = rng.randrange(len(words))
    change = rng.choice(("exchange", "exchange", "exchange", "drop", "repeat", "add", "file"))
    if change == "exchange" and not words[i].startswith(">"):
        words[i] = rng.choice(WORDS)
    elif change == "drop" and len(words) > 1:
        del words[i]
    elif change == "repeat":
        words.insert(i, words[i])
    elif change == "add":
        words.append(rng.choice(WORDS))
    elif change == "file" and words[i].startswith("@"):
        words[i] = "@" + rng.choice((*_inputs(), "folder", "missing"))


def _placed(word: str, inputs: Path, out: Path) -> str:
    if word.startswith("@"):
        return str(inputs / word[1:])
    return str(out / word[1:]) if word.startswith(">") else word


def _run(arguments: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else -1
    if code == 0 or (code == 3 and "--salvage" in arguments):
        return
    assert code in (1, 2), f"exit code {code}: {said.getvalue()[-300:]}"
    raise Refused(_complaint(said.getvalue()))


def _complaint(said: str) -> str:
    """What was written to stderr, without the line that a bar of progress leaves."""
    return "\n".join(line for line in said.splitlines() if not line.startswith(("labelling ", "writing ", "reading ")))
