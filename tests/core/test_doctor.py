from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from lidarloop_core import doctor as module
from lidarloop_core import machine
from lidarloop_core.doctor import (
    clock_finding,
    cuda_findings,
    disk_finding,
    doctor,
    driver_finding,
    engines_finding,
    governor_finding,
    model_finding,
    onnxruntime_finding,
    profile_finding,
    ros_findings,
    shared_memory_finding,
    tensorrt_finding,
)
from lidarloop_core.gpu.cuda import Cuda, CudaError
from lidarloop_core.inference.tensorrt.backend import engine_key
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.model_file import read_model
from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime


@pytest.fixture
def model(repository: Path) -> Path:
    return repository / "models/pillar-toytown.onnx"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIDARLOOP_ENGINE_CACHE", str(tmp_path / "engines"))
    return tmp_path / "engines"


def test_the_command_looks_at_everything(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(model, json=tmp_path / "doctor.json")
    findings = json.loads((tmp_path / "doctor.json").read_text())["findings"]
    names = {finding["what"] for finding in findings}
    assert {"lidarloop", "onnxruntime", "TensorRT", "model", "engines", "shared memory", "disk", "clock"} <= names
    assert names & {"NVIDIA GPU", "CUDA"}
    printed = capsys.readouterr().out
    for finding in findings:
        assert finding["found"] in printed
        assert finding["remedy"] in printed
        if finding["state"] in ("warning", "fault"):
            assert finding["remedy"], finding


def test_a_fault_exits_with_1_and_is_named_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "[/model].onnx"  # looks like a closing tag of rich's markup
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(b"no model")
    assert doctor(broken) == 1
    printed = capsys.readouterr()
    assert str(broken) in printed.out
    assert printed.err.startswith("lidarloop doctor: found faults of model")
    assert printed.err.count("\n") == 1
    monkeypatch.setattr(module, "examine", lambda model: iter([module.Finding("a", "warning", "b", "c")]))
    assert doctor() == 0


def test_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CPUExecutionProvider" in onnxruntime_finding().found
    monkeypatch.setattr(module, "is_installed", lambda name: True)
    assert "over each other" in onnxruntime_finding().found
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert onnxruntime_finding().state == "fault"


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    (none,) = cuda_findings(None)
    assert none.state == "absent"
    (broken,) = cuda_findings(CudaError("no driver"))
    assert (broken.state, broken.found) == ("fault", "no driver")
    runtime = FakeRuntime(num_bytes=8 << 20, name="Orin")
    monkeypatch.setattr(runtime, "cudaDriverGetVersion", lambda: (0, 12060), raising=False)
    monkeypatch.setattr(runtime, "cudaRuntimeGetVersion", lambda: (0, 12080), raising=False)
    gpu, cuda = cuda_findings(Cuda(runtime))
    assert gpu.found == "Orin sm_87, 8 of 8 MiB free"
    assert cuda == module.Finding("CUDA", "ok", "driver for CUDA 12.6, runtime 12.8")


def test_a_driver_older_than_the_runtime_is_a_fault() -> None:
    finding = driver_finding(12060, 13000)
    assert finding.state == "fault"
    assert "cuda-python 12.*" in finding.remedy


def test_tensorrt_is_wanted_only_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    assert tensorrt_finding(False).state == "absent"
    assert tensorrt_finding(True).state == "warning"
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    assert tensorrt_finding(True) == module.Finding("TensorRT", "ok", "10.3.0")


def test_model(model: Path, tmp_path: Path) -> None:
    assert "pillar-toytown, fp32" in model_finding(model).found
    assert model_finding(tmp_path / "none.onnx").state == "fault"


def test_engines(model: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = SimpleNamespace(__version__="10.3.0")
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", trt)
    cache, gpu = EngineCache(own_cache), Cuda(FakeRuntime())
    assert engines_finding(cache, None, None).state == "absent"
    missing = engines_finding(cache, gpu, model)
    assert (missing.state, "build-engine" in missing.remedy) == ("warning", True)
    cache.get_or_build(engine_key(trt, read_model(model), "another GPU"), lambda _: (b"e", b""))
    assert "1 of another GPU or TensorRT" in engines_finding(cache, gpu, model).found
    cache.get_or_build(engine_key(trt, read_model(model), gpu.gpu), lambda _: (b"e", b""))
    assert engines_finding(cache, gpu, model).state == "ok"
    (own_cache / "x.engine").write_bytes(b"mangled")
    finding = engines_finding(cache, gpu, model)
    assert finding.state == "warning"
    assert "mangled: x.engine" in finding.found


def test_ros(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_installed", lambda name: False)
    assert [f.state for f in ros_findings({})] == ["absent"]
    other = {"ROS_DISTRO": "jazzy", "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    assert [f.found for f in ros_findings(other)] == ["jazzy, rmw_cyclonedds_cpp"]
    _, unset = ros_findings({"ROS_DISTRO": "jazzy"})
    assert "FASTRTPS_DEFAULT_PROFILES_FILE is not set" in unset.found
    _, newer = ros_findings({"ROS_DISTRO": "kilted"})
    assert "FASTDDS_DEFAULT_PROFILES_FILE is not set" in newer.found
    for wheels, variable in (("jazzy", "FASTRTPS_DEFAULT"), ("kilted", "FASTDDS_DEFAULT")):
        monkeypatch.setattr(machine, "is_installed", lambda name, wheels=wheels: name == f"ros-{wheels}-rclpy")
        installed, unset = ros_findings({})
        assert installed.found == f"{wheels} from pip, rmw_fastrtps_cpp"
        assert unset.found.startswith(f"{variable}_PROFILES_FILE is not set")
    name = "FASTRTPS_DEFAULT_PROFILES_FILE"
    _, gone = ros_findings({"ROS_DISTRO": "jazzy", name: str(tmp_path / "none.xml")})
    assert gone.state == "fault"
    shipped = repository / "launch/config/fastdds.xml"
    _, good = ros_findings({"ROS_DISTRO": "jazzy", name: str(shipped)})
    assert (good.state, "64 MiB" in good.found) == ("ok", True)


def test_profiles_that_do_not_help() -> None:
    assert profile_finding("p.xml", "<dds/>", "r").state == "warning"
    assert "0.5 MiB" in profile_finding("p.xml", "<segment_size>524288</segment_size>", "r").found


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_memory_finding(64 << 20).state == "warning"
    assert shared_memory_finding(1 << 30).state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    assert disk_finding(tmp_path).state == "warning"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9 << 30))
    assert disk_finding(tmp_path).found.startswith("9.0 GiB free")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert disk_finding(tmp_path).state == "fault"


def test_clock() -> None:
    assert clock_finding(0.0, True).state == "fault"
    assert clock_finding(1.8e9, False).state == "warning"
    assert clock_finding(1.8e9, True).found == "2027-01-15 08:00:00 UTC, synchronised"
    assert clock_finding(1.8e9, None).state == "ok"
    assert module._is_clock_synchronised() in (True, False, None)


def test_governor(tmp_path: Path) -> None:
    assert governor_finding(tmp_path / "none").state == "absent"
    (tmp_path / "governor").write_text("powersave\n")
    assert governor_finding(tmp_path / "governor").state == "warning"
    (tmp_path / "governor").write_text("performance\n")
    assert governor_finding(tmp_path / "governor").state == "ok"
