"""`lidarloop optimise MODEL OUT`: the same model in another precision, for a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnx
import tyro

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.cloud_model import graph_inputs
from lidarloop_core.io.outputs import check_output
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.model_file import PRECISION_KEY, ModelFile, read_model, write_model
from lidarloop_core.model.outputs import Detection
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.shell import command_line
from lidarloop_export.drive import Drive, read_drive
from lidarloop_export.optimise import optimised
from lidarloop_export.precision_fp16 import in_float16
from lidarloop_export.quantise import ERROR_BUDGET, Form, Inputs, Quantised, quantised
from lidarloop_training.ranges import check_ranges

Precision = Literal["fp32", "fp16", "int8"]


def optimise(
    model: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    *,
    precision: Precision = "fp32",
    target: Form = "gpu",
    calibrate: Drive | None = None,
    frames: int = 16,
    budget: float = ERROR_BUDGET,
) -> None:
    """Writes a model file that computes the same boxes with less work.

    What comes out is a model file like the one that went in: the node, `lidarloop replay` and `lidarloop build-engine`
    take it. `lidarloop parity` measures how much the boxes differ.

    Args:
        model: a model file in fp32, as `lidarloop export` writes it.
        out: the model file to write.
        precision: fp32: only the graph is simplified; fp16: for GPUs; int8: convolutions in integers.
        target: int8 has two forms: one for onnxruntime on a CPU, one for TensorRT on a GPU.
        calibrate: int8 only: a drive like those that the model will see, as `lidarloop convert` names it, e.g.
            toytown 3300.
        frames: int8 only: how many of its clouds are used.
        budget: int8 only: error allowed in the head's maps; less leaves more layers in float.

    Raises:
        ConfigError: the output is the input, a value is out of its range, int8 without a drive to calibrate on, or a
            model that is not in fp32.
        ModelFileError: the file is damaged, or an operator or weight does not fit float16.
    """
    check_output(out, model, Path(calibrate[1]) if calibrate else None)
    check_ranges("optimise", frames=(frames, 1, 100_000), budget=(budget, 0, 1))
    file = read_model(model)
    inputs: list[Inputs] = []
    if precision == "int8":
        if calibrate is None:
            raise ConfigError(
                "optimise --precision int8 received no drive to calibrate on; expected --calibrate SOURCE PATH, "
                "e.g. --calibrate toytown 3300"
            )
        print(f"calibrating on {frames} clouds of {' '.join(calibrate)}")
        inputs = calibration_inputs(calibrate, file.spec, frames)
    network, report = variant(file, precision, target, inputs, budget=budget)
    if report is not None:
        _print(report)
    sha256 = write_model(out, network, file.spec)
    print(f"wrote {out}: {precision}, {out.stat().st_size / 1e6:.2f} MB, sha256 {sha256}")
    following = command_line("lidarloop", "parity", model, "--variants", out, "--drive", "toytown", 3301)
    print(f"next: {following}")


def calibration_inputs(drive: Drive, spec: ModelSpec, num_frames: int) -> list[Inputs]:
    """Graph inputs of clouds spread over a drive."""
    return [
        graph_inputs(group_cloud(cloud.points, spec), spec, cloud.pictures)
        for cloud in read_drive(drive, spec, num_frames)
    ]


def variant(
    file: ModelFile,
    precision: Precision,
    target: Form = "gpu",
    calibration: Sequence[Inputs] = (),
    *,
    budget: float = ERROR_BUDGET,
) -> tuple[bytes, Quantised | None]:
    """A model's network in another precision, ready for ``write_model``; for int8 also what was decided.

    Raises:
        ConfigError: the file is not in fp32, int8 without clouds to calibrate on, or int8 of a segmenter.
    """
    if file.precision != "fp32":
        raise ConfigError(
            f"optimise received a model in {file.precision}; expected one in fp32: start from the exported file"
        )
    if precision == "int8" and not isinstance(file.spec.outputs, Detection):
        raise ConfigError(
            f"optimise received int8 with a model for {file.spec.outputs.kind}; expected a detector: take fp16"
        )
    network, report = optimised(file.onnx_bytes), None
    if precision == "fp16":
        network = in_float16(network)
    elif precision == "int8":
        report = quantised(network, calibration, target, budget=budget)
        network = report.network
    model = onnx.load_from_string(network)
    onnx.helper.set_model_props(model, {PRECISION_KEY: precision})
    return bytes(model.SerializeToString()), report


def _print(report: Quantised) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "error alone", "kept in", title="error of the head's maps with one layer in int8")
    for layer, error in report.errors.items():
        table.add_row(layer, f"{error:.4f}", "float32" if layer in report.in_float else "int8")
    Console().print(table)
