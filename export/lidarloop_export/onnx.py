"""`lidarloop export CHECKPOINT [OUT]`: a checkpoint → the one file that runs on the vehicle, proven first."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.outputs import check_output
from lidarloop_core.model.model_file import seal, write_model
from lidarloop_core.model.outputs import Detection
from lidarloop_core.shell import command_line
from lidarloop_export.clouds import clouds
from lidarloop_export.graph import with_raw_maps, without_raw_maps
from lidarloop_export.parity import check_parity
from lidarloop_export.rtx_check import check_nvidia_builds, is_installed
from lidarloop_training.stages.checkpoint import load_task


def export(
    checkpoint: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path] = Path("model.onnx"),
    *,
    check_nvidia: Literal["if-installed", "always", "never"] = "if-installed",
) -> None:
    """Writes a checkpoint's network as a model file.

    First it must agree with torch on toy, random, extreme and (where there are any) real clouds, and NVIDIA's own
    parser and builder must take it. If one of the two fails, no file is written.

    Args:
        checkpoint: a run's folder, or one of its checkpoints.
        out: the model file to write.
        check_nvidia: whether NVIDIA's parser and builder (tensorrt-rtx, needs no GPU) are run.

    Raises:
        ConfigError: there is no readable checkpoint, or the model file would replace one of its files or a folder.
    """
    check_output(out, checkpoint)
    if out.is_dir():
        raise ConfigError(f"received {out} to write to, which is a folder; expected a file, e.g. {out / 'model.onnx'}")
    task, trained, folder = load_task(checkpoint)
    check_output(out, *folder.iterdir())
    print(f"exporting {folder}")
    view = task.export_view(trained)
    full = with_raw_maps(view)
    network = without_raw_maps(full, task.spec)
    for result in check_parity(view, full, network, clouds(task.spec)):
        print(f"parity on {result}")
    if check_nvidia == "always" or (check_nvidia == "if-installed" and is_installed()):
        print(f"NVIDIA: {check_nvidia_builds(seal(network, task.spec), task.spec)}")
    else:
        print("NVIDIA: not checked (pip install lidarloop[rtx] brings its parser)")
    sha256 = write_model(out, network, task.spec)
    print(f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB, sha256 {sha256}")
    replay = ("replay", "BAG", "--model", out, "--out", "out/replay")
    score = ("evaluate", out, "DRIVE", "--out", "out/evaluation")
    following = replay if isinstance(task.spec.outputs, Detection) else score
    print(f"next: {command_line('lidarloop', *following)}")
