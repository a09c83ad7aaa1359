from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.inference import onnxruntime_backend
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec

Network = Callable[..., bytes]
SixBoxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_inference(tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec) -> None:
    sha256 = write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    backend = open_backend(tmp_path / "model.onnx", num_threads=1)
    assert backend.spec == spec
    assert backend.model_sha256 == sha256
    assert backend.device.startswith("onnxruntime ")
    assert backend.device.endswith("CPUExecutionProvider")
    points = np.array([[1, 2, 3, 0, 0], [3, 4, 5, 0, 0]], np.float32)
    index = np.zeros(2, np.int64)
    outputs = backend.infer({"points": points, "slot": index, "cell": index, "count": index})
    assert list(outputs) == ["boxes", "scores", "labels"]
    np.testing.assert_allclose(outputs["boxes"], six_boxes[0] + [2, 3, 4, 0, 0, 0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(outputs["scores"], six_boxes[1], rtol=1e-6)
    np.testing.assert_array_equal(outputs["labels"], six_boxes[2])


def test_a_provider_that_is_not_there_is_refused_not_replaced(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    with pytest.raises(BackendError, match=r"received providers NoSuchProvider; this build has .*CPUExecutionProvider"):
        open_backend(tmp_path / "model.onnx", providers=["NoSuchProvider", "CPUExecutionProvider"])
    with pytest.raises(BackendError, match="received providers none"):
        open_backend(tmp_path / "model.onnx", providers=[])


def test_a_provider_that_fails_to_load_is_noticed(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime lists CUDA, fails to load its libraries, and runs on the CPU without an error."""
    import onnxruntime

    class SilentlyOnCpu:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", SilentlyOnCpu)
    with pytest.raises(BackendError, match="runs on CPUExecutionProvider although CUDAExecutionProvider was asked for"):
        open_backend(tmp_path / "model.onnx", providers=["CUDAExecutionProvider"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_columns": 4},
            r"has points tensor\(float\) \['N', 4\]; its spec promises points float32 \[num_points, 5\]",
        ),
        ({"num_boxes": None, "output_names": ("boxes", "scores", "classes")}, "has tensors .*classes"),
    ],
)
def test_a_graph_that_does_not_fit_its_spec_is_refused(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec, change: dict[str, object], message: str
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes, **change), spec)
    with pytest.raises(ModelFileError, match=message):
        open_backend(tmp_path / "model.onnx")


def test_a_graph_with_another_number_of_boxes_is_refused(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*(column[:4] for column in six_boxes)), spec)
    with pytest.raises(
        ModelFileError, match=r"has boxes tensor\(float\) \[4, 9\]; its spec promises boxes float32 \[6, 9\]"
    ):
        open_backend(tmp_path / "model.onnx")


def test_sealed_bytes_that_are_no_network_are_refused(tmp_path: Path, spec: ModelSpec) -> None:
    write_model(tmp_path / "model.onnx", b"\x3a\x02\x08\x01", spec)  # a graph field that holds no graph
    with pytest.raises(ModelFileError, match="cannot be loaded by onnxruntime"):
        open_backend(tmp_path / "model.onnx")


def test_a_graph_whose_names_are_no_text_is_refused(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes).replace(b"points", b"p\xffints"), spec)
    with pytest.raises(ModelFileError, match=r"cannot be loaded by onnxruntime .*utf-8.*expected an intact ONNX file"):
        open_backend(tmp_path / "model.onnx")


def test_the_runtime_s_words_are_cut_to_one_clear_line(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    """An output that no node makes: onnxruntime answers with its source's place, and a line break."""
    write_model(tmp_path / "model.onnx", network(*six_boxes).replace(b"all_scores", b"all_scoren", 1), spec)
    with pytest.raises(
        ModelFileError, match=r"cannot be loaded by onnxruntime .*expected an intact ONNX file"
    ) as caught:
        open_backend(tmp_path / "model.onnx")
    assert len(str(caught.value).splitlines()) == 1
    assert "onnxruntime_src" not in str(caught.value)
    assert "[ONNXRuntimeError]" not in str(caught.value)


def test_inputs_the_runtime_refuses_are_a_backend_error(
    tmp_path: Path, network: Network, six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    with pytest.raises(BackendError, match="onnxruntime failed on pillar-test"):
        open_backend(tmp_path / "model.onnx").infer({"points": np.zeros((2, 5), np.float32)})


def test_threads_are_as_many_as_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of one core count once; a machine that does not tell its cores counts all."""
    siblings = {0: "0,4", 4: "0,4", 1: "1,5"}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(siblings), raising=False)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: siblings[int(path.parts[5].removeprefix("cpu"))])
    assert onnxruntime_backend._num_physical_cores() == 2
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert onnxruntime_backend._num_physical_cores() == 3
