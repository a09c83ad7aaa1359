"""The nuScenes-size pillar model on a CUDA GPU, by PyTorch and by onnxruntime, beside the least time it could take.

    python -m benchmarks.gpu.pillar prepare     # here: needs the whole environment, no GPU
    python -m benchmarks.gpu.pillar measure     # there: needs torch with CUDA, and onnxruntime-gpu to measure it

`prepare` exports a network of random weights (speed does not depend on them; 512 × 512 pillars, ten sweeps) and groups
the real ten-sweep cloud; both go to out/gpu. `measure` times the network with everything on the device, PyTorch in one
CUDA graph, and writes results/gpu_pillar.json. No figure of a machine without a GPU is ever written there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tyro

from lidarloop_core.bench.roofline import DEVICES, Cost, Rates, rates_of, roofline_ms
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.io import atomic
from lidarloop_core.model.outputs import Detection
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "out/gpu"
STORED = ROOT / "results/gpu_pillar.json"
WARM_UP, REPEAT = 30, 300


def spec(max_pillars: int = 40_000, half_range_m: float = 51.2) -> ModelSpec:
    """CenterPoint-Pillar's grid on nuScenes: 0.2 m pillars, ten sweeps."""
    return ModelSpec(
        name="pillar-nuscenes-speed",
        class_names=NUSCENES_CLASSES,
        point_columns=("x", "y", "z", "intensity", "dt"),
        intensity_scale=1 / 255,
        grid=PillarGrid(
            x_range_m=(-half_range_m, half_range_m),
            y_range_m=(-half_range_m, half_range_m),
            z_range_m=(-5.0, 3.0),
            cell_size_m=(0.2, 0.2),
            max_points_per_pillar=20,
            max_pillars=max_pillars,
        ),
        outputs=Detection(max_detections=500),
        num_sweeps=10,
        sweep_interval_s=0.05,
        lidar_height_m=1.84,
    )


def widths() -> Any:
    """CenterPoint-Pillar's: 64 channels, then 64, 128 and 256 at strides 2, 4 and 8; six class groups."""
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS

    return NetworkConfig(
        class_groups=CENTERPOINT_GROUPS,
        pillar_channels=64,
        stage_channels=(64, 128, 256),
        stage_depths=(3, 5, 5),
        neck_channels=128,
        shared_channels=64,
        group_channels=64,
    )


def network(of: ModelSpec) -> Any:
    """The network as it is deployed, with random weights."""
    import torch

    from lidarloop_training.tasks.detection.task import DetectionConfig

    torch.manual_seed(0)
    task = DetectionConfig(spec=of, network=widths()).task()
    return task.export_view(task.build().eval())


def graphs(of: ModelSpec) -> dict[str, bytes]:
    """Precision → the network as it is given to a runtime."""
    from lidarloop_export.graph import with_raw_maps, without_raw_maps
    from lidarloop_export.optimise import optimised
    from lidarloop_export.precision_fp16 import in_float16

    full = optimised(without_raw_maps(with_raw_maps(network(of)), of))
    return {"fp32": full, "fp16": in_float16(full)}


def prepare(of: ModelSpec, cloud: npt.NDArray[np.float32], folder: Path) -> None:
    """Writes graph inputs, the ONNX files and the network's cost; ``cloud``: (N, C) float32, the model's columns."""
    from lidarloop_core.bench.roofline import network_cost
    from lidarloop_export.clouds import graph_inputs

    folder.mkdir(parents=True, exist_ok=True)
    inputs = graph_inputs(cloud, of)
    np.savez(folder / "inputs.npz", **inputs)
    costs, shapes = {}, {name: array.shape for name, array in inputs.items()}
    for precision, graph in graphs(of).items():
        (folder / f"{precision}.onnx").write_bytes(graph)
        costs[precision] = dataclasses.asdict(network_cost(graph, shapes))
    about = {"spec": of.to_json(), "cloud_points": len(cloud), "cost": costs}
    atomic.write_bytes(folder / "about.json", json.dumps(about).encode())
    print(f"{folder}: {len(cloud)} points, {len(inputs['points'])} kept in {len(inputs['cell'])} pillars")


def torch_runs(folder: Path, device: str, precision: str, repeat: int) -> list[float]:
    """Milliseconds of the network, inputs on the device, one CUDA graph; plain calls on a CPU."""
    import torch

    about = json.loads((folder / "about.json").read_text())
    contract = ModelSpec.from_json(about["spec"])
    deployed = network(contract).to(device)
    deployed.network.backbone.to(memory_format=torch.channels_last)
    deployed.network.head.to(memory_format=torch.channels_last)
    stored = np.load(folder / "inputs.npz")
    inputs = [torch.from_numpy(stored[tensor.name]).to(device) for tensor in contract.inputs]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    kind = torch.device(device).type

    def run() -> Any:
        with torch.inference_mode(), torch.autocast(kind, torch.float16, enabled=precision == "fp16"):
            return deployed.decode(*deployed.raw(*inputs))

    if kind == "cpu":
        return _timed(run, lambda: None, repeat)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return _timed(graph.replay, torch.cuda.synchronize, repeat)


def onnxruntime_runs(folder: Path, provider: str, precision: str, repeat: int) -> list[float]:
    """Milliseconds of the network in onnxruntime; on CUDA its inputs and outputs stay on the device."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / f"{precision}.onnx"), options, providers=[provider])
    assert session.get_providers()[0] == provider, f"onnxruntime runs on {session.get_providers()[0]}"
    stored, device = np.load(folder / "inputs.npz"), "cpu" if provider.startswith("CPU") else "cuda"
    binding = session.io_binding()
    for name, array in stored.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return _timed(run, lambda: None, repeat)


def _timed(run: Callable[[], Any], wait: Callable[[], None], repeat: int) -> list[float]:
    for _ in range(min(WARM_UP, repeat)):
        run()
    wait()
    times_ms = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        wait()
        times_ms.append(1e3 * (time.perf_counter() - start))
    return times_ms


def measure(folder: Path, device: str, repeat: int) -> dict[str, Any]:
    """Every way that is installed, with the floor of the network on this device."""
    import torch

    is_gpu = torch.device(device).type == "cuda"
    name = torch.cuda.get_device_name() if is_gpu else "CPU"
    costs = {k: Cost(**v) for k, v in json.loads((folder / "about.json").read_text())["cost"].items()}
    rates = rates_of(name)
    provider = "CUDAExecutionProvider" if is_gpu else "CPUExecutionProvider"
    ways: list[tuple[str, str, Callable[[], list[float]]]] = []
    for precision in ("fp32", "fp16") if is_gpu else ("fp32",):
        ways.append(("PyTorch", precision, partial(torch_runs, folder, device, precision, repeat)))
        ways.append(("onnxruntime", precision, partial(onnxruntime_runs, folder, provider, precision, repeat)))
    rows = [_row(way, precision, run, costs[precision], rates) for way, precision, run in ways]
    return {"gpu": name, "torch": torch.__version__, "cuda": torch.version.cuda, "rows": rows}


def _row(way: str, precision: str, run: Callable[[], list[float]], cost: Cost, rates: Rates | None) -> dict[str, Any]:
    row: dict[str, Any] = {"way": way, "precision": precision, "flops": cost.flops, "bytes": cost.num_bytes}
    try:
        times_ms = run()
    except Exception as error:  # one way that is not installed leaves the others their figures
        return row | {"error": f"{type(error).__name__}: {error}"}
    p50, p99 = (float(v) for v in np.percentile(times_ms, [50, 99]))
    floor = None if rates is None else roofline_ms(cost, rates, precision)
    row |= {"p50_ms": p50, "p99_ms": p99, "floor_ms": floor, "times_floor": None if floor is None else p50 / floor}
    print(f"{way:12} {precision}: p50 {p50:.3f} ms, p99 {p99:.3f} ms, floor {floor} ms")
    return row | {"times_ms": [round(t, 4) for t in times_ms]}


def main(
    what: tyro.conf.Positional[Literal["prepare", "measure"]],
    *,
    folder: Path = FOLDER,
    out: Path = STORED,
    repeat: int = REPEAT,
) -> int:
    """Prepares, or measures on a CUDA GPU.

    Args:
        what: prepare here, measure there.
        folder: what the one writes and the other reads.
        out: where figures go.
        repeat: runs on the clock.
    """
    if what == "prepare":
        from lidarloop_export.clouds import clouds

        of = spec()
        real = [cloud for cloud in clouds(of) if cloud.name == "nuScenes, ten sweeps"]
        if not real:
            print("gpu_pillar: the real ten-sweep cloud is needed; set LIDARLOOP_REAL_DATA", file=sys.stderr)
            return 1
        prepare(of, real[0].points, folder)
        return 0
    import torch

    if not torch.cuda.is_available():
        print("gpu_pillar: torch sees no CUDA device; nothing is measured and nothing written", file=sys.stderr)
        return 1
    from lidarloop_core.machine import machine, versions

    found = measure(folder, "cuda", repeat)
    document = {"command": sys.argv, "seed": 0, "machine": machine(), "versions": versions(), **found}
    atomic.write_bytes(out, (json.dumps(document, indent=1) + "\n").encode())
    print(f"{out}; rates known of {', '.join(DEVICES)}")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
