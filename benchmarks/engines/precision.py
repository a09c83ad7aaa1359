"""What each precision costs: the shipped model as fp32, fp16 and int8 in onnxruntime, on toy-town drives it never saw.

    python -m benchmarks.engines.precision        # writes results/engine_precision.json; about five minutes

Calibrated on seed 3300, judged on seeds 3301 to 3303; 3304 and 3305 are left to others. The check recomputes its rows
from the stored results and judges a few frames anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import tyro

from benchmarks.checks import (
    REPOSITORY,
    SHIPPED_MODEL,
    Context,
    Row,
    all_of,
    as_json,
    at_most,
    commit,
    report_only,
    runs_studies,
)
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_export.box_parity import LIMITS, Deviations
from lidarloop_export.drive import Drive, read_drive
from lidarloop_export.parity_command import compare
from lidarloop_export.rtx_check import TARGETS, check_nvidia_builds, is_installed
from lidarloop_export.variants import Precision, calibration_inputs, variant

STORED = REPOSITORY / "results/engine_precision.json"
CALIBRATION: Drive = ("toytown", "3300")
JUDGED: tuple[Drive, ...] = (("toytown", "3301"), ("toytown", "3302"), ("toytown", "3303"))

LIVE_CALIBRATION_FRAMES = 6

VARIANTS: tuple[tuple[str, Precision, Any], ...] = (
    ("fp32", "fp32", "gpu"),
    ("fp16", "fp16", "gpu"),
    ("int8 for the GPU", "int8", "gpu"),
    ("int8 for the CPU", "int8", "cpu"),
)


def make_variants(folder: Path, calibration_frames: int) -> dict[str, Path]:
    """Every precision of the shipped model, as files."""
    paths = {name: folder / f"{name.replace(' ', '-')}.onnx" for name, _, _ in VARIANTS}
    for name, network in _networks(calibration_frames).items():
        write_model(paths[name], network, read_model(SHIPPED_MODEL).spec)
    return paths


@lru_cache(maxsize=1)
def _networks(calibration_frames: int) -> dict[str, bytes]:
    """Made once for all checks of a process: choosing int8's layers takes its time."""
    file = read_model(SHIPPED_MODEL)
    inputs = calibration_inputs(CALIBRATION, file.spec, calibration_frames)
    return {name: variant(file, precision, target, inputs)[0] for name, precision, target in VARIANTS}


def judge(paths: dict[str, Path], drive: Drive, frames: int) -> dict[str, dict[str, Any]]:
    """Variant → its deviations from the shipped file on one drive."""
    reference = open_backend(SHIPPED_MODEL)
    clouds = read_drive(drive, reference.spec, frames)
    candidates = [(name, read_model(path).precision, _opened(path)) for name, path in paths.items()]
    return {row.model: asdict(row.deviations) for row in compare(reference, clouds, candidates)}


def check_precisions(context: Context) -> Iterator[Row]:
    """The int8 table, fp16's parity, and NVIDIA's builder for two targets."""
    if runs_studies():
        study()
    if STORED.exists():
        stored = json.loads(STORED.read_text())
        yield from _rows(stored["drives"], f"{len(stored['drives'])} drives × {stored['frames']} frames, stored")
    paths = make_variants(context.scratch, LIVE_CALIBRATION_FRAMES)
    # So few frames cannot tell half a point: twice the loss is let pass.
    yield from _rows([judge(paths, JUDGED[0], 12)], "12 frames, now", slack=2.0)
    for name, path in paths.items():
        if "CPU" not in name:
            yield built_by_nvidia(f"shipped model, {name}", path.read_bytes(), read_model(path).spec)


def built_by_nvidia(what: str, model_bytes: bytes, spec: ModelSpec) -> Row:
    """For how many of the targets NVIDIA's own parser and builder build a sealed model."""
    what = f"{what}: targets that NVIDIA's parser and builder build it for"
    if not is_installed():
        return Row(what, None, f"all {len(TARGETS)}", None, "no tensorrt-rtx")
    line = check_nvidia_builds(model_bytes, spec)
    return all_of(what, sum(target in line for target in TARGETS), len(TARGETS))


def _rows(drives: list[dict[str, dict[str, Any]]], on: str, slack: float = 1.0) -> Iterator[Row]:
    for name, precision, _ in VARIANTS:
        found = [Deviations(**{f.name: drive[name][f.name] for f in fields(Deviations)}) for drive in drives]
        drops = [d.map_drop for d in found if d.map_drop is not None]
        limits = LIMITS[precision]
        yield at_most(f"{name}: mAP lost, points ({on})", sum(drops) / len(drops), slack * limits.map_drop)
        if len(drops) > 1:
            yield report_only(f"  of its worst drive, points ({on})", max(drops))
        worst = max(d.center_p99_cm for d in found)
        yield at_most(f"{name}: centres of matched boxes, p99 cm ({on})", worst, limits.center_p99_cm)


def _opened(path: Path) -> Any:
    def opened() -> Backend:
        return open_backend(path)

    return opened


def study(frames: int = 40, calibration_frames: int = 12) -> None:
    """Judges every precision on every drive and stores what came out.

    Args:
        frames: frames of each drive.
        calibration_frames: for int8.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = make_variants(Path(folder), calibration_frames)
        drives = [judge(paths, drive, frames) for drive in JUDGED]
        document = {
            "command": sys.argv,
            "seeds": {"calibration": CALIBRATION[1], "judged": [seed for _, seed in JUDGED]},
            "frames": frames,
            "calibration_frames": calibration_frames,
            "model_sha256": read_model(SHIPPED_MODEL).sha256,
            "variant_sha256": {name: read_model(path).sha256 for name, path in paths.items()},
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "drives": drives,
        }
    atomic.write_bytes(STORED, as_json(document))
    print(STORED)


if __name__ == "__main__":
    tyro.cli(study)
