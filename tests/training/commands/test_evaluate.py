"""The command: what it writes, what it refuses, and that it agrees with the devkit from file to file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from lidarloop_core import cli
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import write_results
from lidarloop_training.commands import evaluate as module
from lidarloop_training.evaluation.report import files
from tests.training.evaluation.synthetic_drive import MemorySource, detect, make_drive

SHA = "0123456789abcdef" * 4


class RunEvaluate(Protocol):
    def __call__(
        self, source: MemorySource, results: Mapping[str, Boxes3D], *options: str, meta: Mapping[str, Any] | None = None
    ) -> tuple[int, Any, str]: ...


class WriteLatency(Protocol):
    def __call__(self, **changes: object) -> str: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunEvaluate:
    """Runs ``lidarloop evaluate`` on a source in memory; gives (exit code, metrics.json, stdout + stderr)."""

    def run(
        source: MemorySource, results: Mapping[str, Boxes3D], *options: str, meta: Mapping[str, Any] | None = None
    ) -> tuple[int, Any, str]:
        monkeypatch.setattr(module, "open_ground_truth", lambda path, kind=None, *, cameras=False: source)
        write_results(tmp_path / "detections.json", results, {"frame": "world", **(meta or {})})
        out = tmp_path / "out"
        code = cli.main(["evaluate", str(tmp_path / "detections.json"), "drive.mcap", "--out", str(out), *options])
        captured = capsys.readouterr()
        metrics = out / "metrics.json"
        return code, json.loads(metrics.read_text()) if metrics.exists() else None, captured.out + captured.err

    return run


@pytest.fixture
def latency_file(tmp_path: Path) -> WriteLatency:
    def write(**changes: object) -> str:
        record = {
            "latency_ms": {"p50": 20.0, "p99": 41.0, "p99_9": 120.0, "max": 130.0, "samples": [20.0, 21.5, 130.0]},
            "stage_ms": {"group": {"p50": 1.0, "p99": 2.0, "max": 3.0}},
            "frames_sent": 12,
            "frames_detected": 11,
            "frames_dropped": 1,
            "deadline_misses": 1,
            "rate_hz": 10.0,
            "rss_mb": 400.0,
            "model_sha256": SHA,
        }
        path = tmp_path / "latency.json"
        path.write_text(json.dumps(record | changes))
        return str(path)

    return write


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time."""
    monkeypatch.setattr(files, "draw_overview", lambda run: {})
    monkeypatch.setattr(files, "draw_misses", lambda run, open_with_cameras: [])


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("frame", ["world", "lidar"])
def test_perfect_detections(run: RunEvaluate, frame: str) -> None:
    source = make_drive()
    code, metrics, _ = run(source, detect(source, frame, noise_m=0.0), meta={"frame": frame})
    assert code == 0
    assert metrics["mAP"] == pytest.approx(1)
    assert metrics["NDS"] == pytest.approx(0.9, abs=1e-3)
    assert metrics["errors"]["ATE"] < 2e-4


@pytest.mark.usefixtures("no_pictures")
def test_a_source_without_ego_motion(run: RunEvaluate) -> None:
    results = detect(make_drive(), "lidar", noise_m=0.0)
    code, metrics, _ = run(make_drive(ego_motion=False), results, meta={"frame": "lidar"})
    assert (code, metrics["mAP"]) == (0, pytest.approx(1))


@pytest.mark.usefixtures("no_pictures")
def test_what_metrics_json_holds(run: RunEvaluate, latency_file: WriteLatency) -> None:
    source = make_drive()
    meta = {"model_sha256": SHA, "provenance": {"bag": "drive.mcap", "seed": 7}}
    code, metrics, printed = run(source, detect(source, "world"), "--latency", latency_file(), meta=meta)
    assert code == 0
    assert 0.2 < metrics["mAP"] < 1
    assert metrics["mAP_all_classes"] < metrics["mAP"]
    assert (metrics["classes"]["bus"]["AP"], metrics["classes"]["bus"]["num_objects"]) == (None, 0)
    assert set(metrics["classes"]["car"]["AP_at_distance"]) == {"0.5", "1", "2", "4"}
    assert metrics["latency_ms"] == {"p50": 20.0, "p99": 41.0, "p99_9": 120.0, "max": 130.0}
    assert (metrics["frames_sent"], metrics["frames_detected"], metrics["frames_dropped"]) == (12, 11, 1)
    assert metrics["model_sha256"] == SHA
    assert metrics["data"]["num_frames"] == 12
    assert {"config", "machine", "versions", "provenance"} <= set(metrics)
    assert "car" in printed
    assert "p99.9 120.0" in printed


def test_the_report_holds_all_and_fetches_nothing(run: RunEvaluate, latency_file: WriteLatency, tmp_path: Path) -> None:
    source = make_drive()
    meta = {"model_sha256": SHA, "provenance": {"bag": "<b>drive</b>"}}
    run(source, detect(source, "world"), "--latency", latency_file(), meta=meta)
    html = (tmp_path / "out/report.html").read_text()
    assert len(html) < 5_000_000
    assert "http://" not in html
    assert "https://" not in html
    assert html.count("data:image/png;base64,") == 3 + 3 + 6  # worst and best frames, worst misses
    assert html.count("<svg") == 3 + 4 + 1  # three classes present, four errors, the latency
    for text in (
        SHA,
        "&lt;b&gt;drive&lt;/b&gt;",
        "deadline 100 ms",
        "Worst frames",
        "0–10 m",
        "visible share",
        "400 MB",
    ):
        assert text in html


@pytest.mark.usefixtures("no_pictures")
def test_equal_runs_write_equal_metrics(run: RunEvaluate) -> None:
    source = make_drive()
    assert run(source, detect(source, "world"))[1] == run(source, detect(source, "world"))[1]


@pytest.mark.usefixtures("no_pictures")
def test_two_results_side_by_side(run: RunEvaluate, tmp_path: Path) -> None:
    source = make_drive(24)
    write_results(tmp_path / "other.json", detect(source, "lidar", noise_m=0.1, seed=1), {"frame": "lidar"})
    options = ("--compare", str(tmp_path / "other.json"), "--resamples", "200")
    code, metrics, printed = run(source, detect(source, "world", noise_m=0.8), *options)
    assert code == 0
    comparison = metrics["comparison"]
    assert comparison["rows"]["mAP"]["first"] == metrics["mAP"]
    assert comparison["rows"]["mAP"]["verdict"] == comparison["rows"]["ATE"]["verdict"] == "better"
    assert 0 < comparison["rows"]["mAP"]["low"] < comparison["rows"]["mAP"]["value"]
    assert comparison["found"]["car"]["only_second"] > 0
    assert "200 draws of 24 single frames" in comparison["units"]
    assert "second result against the first" in printed
    html = (tmp_path / "out/report.html").read_text()
    assert "Against the second result" in html
    assert html.count("<svg") == 3 + 3 + 4  # both curves, those of the first, the errors


@pytest.mark.usefixtures("no_pictures")
def test_intervals(run: RunEvaluate) -> None:
    source = make_drive(24)
    results = detect(source, "world")
    _, metrics, printed = run(source, results, "--resamples", "100")
    low, high = metrics["intervals_95"]["mAP"]
    assert low < metrics["mAP"] < high
    assert {"NDS", "ATE", "car", "pedestrian"} <= set(metrics["intervals_95"])
    assert metrics["resampling"]["num_resamples"] == 100
    assert f"mAP {metrics['mAP']:.3f} ({low:.3f}–{high:.3f})" in printed
    _, without, _ = run(source, results, "--resamples", "0")
    assert "intervals_95" not in without
    assert without["mAP"] == metrics["mAP"]


def test_class_agnostic(run: RunEvaluate, tmp_path: Path) -> None:
    source = make_drive()
    results = {
        token: Boxes3D(boxes.values, boxes.scores, boxes.labels * 0, ("object",))
        for token, boxes in detect(source, "world", noise_m=0.0).items()
    }
    code, metrics, _ = run(source, results, "--class-agnostic", "--compare", str(tmp_path / "detections.json"))
    assert (code, metrics["mAP"]) == (0, pytest.approx(1))
    assert metrics["comparison"]["rows"]["mAP"]["p_value"] == 1
    assert list(metrics["classes"]) == ["object"]
    assert metrics["config"]["class_range_m"] == {"object": 50.0}
    code, _, printed = run(source, results)
    assert code == 1
    assert "received class object" in printed


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("names", [("forklift",), ("fork lift", "tug")])
def test_class_agnostic_with_classes_of_ones_own(run: RunEvaluate, names: tuple[str, ...]) -> None:
    drive = make_drive()

    def renamed(boxes: Boxes3D) -> Boxes3D:
        return Boxes3D(boxes.values, boxes.scores, boxes.labels % len(names), names)

    samples = [
        dataclasses.replace(s, annotations=dataclasses.replace(s.annotations, boxes=renamed(s.annotations.boxes)))
        for s in (drive[i] for i in range(len(drive)))
        if s.annotations is not None
    ]
    found = detect(drive, "world", noise_m=0.0)
    own = {token: renamed(boxes) for token, boxes in found.items()}
    without = {t: Boxes3D(b.values, b.scores, b.labels * 0, ("object",)) for t, b in found.items()}
    _, of_ten_classes, _ = run(drive, found, "--class-agnostic")
    for results, meta in ((own, {"class_names": list(names)}), (own, {}), (without, {}), (found, {})):
        code, metrics, printed = run(MemorySource(samples), results, "--class-agnostic", meta=meta)
        assert (code, printed if code else "") == (0, "")
        assert metrics["classes"].keys() == {"object"}
        assert metrics["classes"]["object"]["num_objects"] == of_ten_classes["classes"]["object"]["num_objects"]
        assert metrics["mAP"] == pytest.approx(1)


@pytest.mark.usefixtures("no_pictures")
def test_waymos_numbers(run: RunEvaluate, tmp_path: Path) -> None:
    source = make_drive()
    _, metrics, printed = run(source, detect(source, "world"), "--metric", "waymo", "--resamples", "0")
    assert [row["type"] for row in metrics["waymo"][::2]] == ["vehicle", "pedestrian", "cyclist", "mean"]
    assert metrics["waymo"][4]["AP"] is None  # no cyclists
    assert "Waymo, AP and APH" in printed
    assert "Waymo, AP and APH" in (tmp_path / "out/report.html").read_text()


def test_options_that_exclude_one_another(run: RunEvaluate) -> None:
    source = make_drive(2)
    for options, message in (
        (("--metric", "kitti"), "not the KITTI object benchmark"),
        (("--metric", "waymo", "--class-agnostic"), "scores by class"),
        (("--resamples", "-1"), "expected 0 for none"),
        (("--pictures", "-1"), "expected 0 for none"),
    ):
        code, metrics, printed = run(source, detect(source, "world"), *options)
        assert (code, metrics) == (1, None)
        assert message in " ".join(printed.split())


def test_without_annotations_nothing_is_scored(run: RunEvaluate, latency_file: WriteLatency, tmp_path: Path) -> None:
    results = detect(make_drive(), "world")
    options = ("--latency", latency_file(), "--pictures", "3")
    code, metrics, printed = run(make_drive(labelled=False), results, *options)
    assert code == 0
    assert metrics["mAP"] is None
    assert metrics["NDS"] is None
    assert metrics["latency_ms"]["p50"] == 20.0
    assert "no ground truth: nothing scored" in printed
    assert "no ground truth: nothing scored" in (tmp_path / "out/report.html").read_text()
    pictures = sorted(path.name for path in (tmp_path / "out/pictures").iterdir())
    assert pictures == ["000000.png", "000006.png", "000011.png"]


@pytest.mark.usefixtures("no_pictures")
def test_frames_without_results(run: RunEvaluate) -> None:
    source = make_drive()
    results = detect(source, "world", noise_m=0.0)
    partial = dict(list(results.items())[:6])
    code, metrics, printed = run(source, partial)
    assert (code, metrics) == (1, None)
    assert "6 of 12 frames of the ground truth have no results" in printed
    assert "--allow-missing" in printed

    code, metrics, printed = run(source, partial, "--allow-missing")
    assert code == 0
    assert metrics["mAP"] < 0.75  # what was not answered counts as missed
    assert "6 of 12 frames have no results" in metrics["notes"][0]


@pytest.mark.usefixtures("no_pictures")
def test_frames_unknown_to_the_ground_truth_are_left_out(run: RunEvaluate) -> None:
    results = detect(make_drive(), "world", noise_m=0.0)
    code, metrics, _ = run(make_drive(5), results)
    assert (code, metrics["data"]["num_frames"]) == (0, 5)
    assert "7 frames of the results have no counterpart" in metrics["notes"][0]


def test_the_results_of_another_drive_are_refused(run: RunEvaluate) -> None:
    results = {f"other-{token}": boxes for token, boxes in detect(make_drive(), "world").items()}
    code, metrics, printed = run(make_drive(), results, "--allow-missing")
    assert (code, metrics) == (1, None)
    assert "none of the 12 frames of the results is among the 12" in printed


def test_a_second_result_of_another_drive_is_refused_by_its_name(run: RunEvaluate, tmp_path: Path) -> None:
    source = make_drive(2)
    others = {f"other-{token}": boxes for token, boxes in detect(source, "world").items()}
    write_results(tmp_path / "second.json", others, {"frame": "world"})
    code, metrics, printed = run(source, detect(source, "world"), "--compare", str(tmp_path / "second.json"))
    assert (code, metrics) == (1, None)
    assert "second.json: none of the 2 frames" in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.usefixtures("no_pictures")
def test_without_annotations_a_second_result_is_not_compared(run: RunEvaluate, tmp_path: Path) -> None:
    results = detect(make_drive(2), "world")
    write_results(tmp_path / "second.json", results, {"frame": "world"})
    code, metrics, _ = run(make_drive(2, labelled=False), results, "--compare", str(tmp_path / "second.json"))
    assert code == 0
    assert "comparison" not in metrics
    assert "was not compared" in metrics["notes"][1]


def test_the_latency_of_another_model_is_refused(run: RunEvaluate, latency_file: WriteLatency) -> None:
    source = make_drive(2)
    options = ("--latency", latency_file(model_sha256="f" * 64))
    code, _, printed = run(source, detect(source, "world"), *options, meta={"model_sha256": SHA})
    assert code == 1
    assert "expected both files of one replay" in printed


@pytest.mark.parametrize("content", ["{", "[]", '{"latency_ms": 3}', '{"latency_ms": {}, "frames_sent": null}'])
def test_what_is_no_latency_record_is_refused(run: RunEvaluate, tmp_path: Path, content: str) -> None:
    source = make_drive(2)
    (tmp_path / "bad.json").write_text(content)
    code, metrics, printed = run(source, detect(source, "world"), "--latency", str(tmp_path / "bad.json"))
    assert (code, metrics) == (1, None)
    assert "is no latency record" in printed


def test_missing_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["evaluate", str(tmp_path / "no.json"), str(tmp_path), "--out", str(tmp_path / "out")])
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no.json do not exist; expected" in line
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_to_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "d.json", detect(make_drive(1), "world"), {"frame": "world"})
    (tmp_path / "out").write_text("mine")
    assert cli.main(["evaluate", str(tmp_path / "d.json"), "no.mcap", "--out", str(tmp_path / "out")]) == 1
    assert "which is a file; expected a folder" in capsys.readouterr().err


def test_ground_truth_that_is_neither_bag_nor_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "d.json", detect(make_drive(1), "world"), {"frame": "world"})
    for path in ("nothing", "."):
        assert cli.main(["evaluate", str(tmp_path / "d.json"), str(tmp_path / path), "--out", str(tmp_path / "o")]) == 1
        assert "expected a" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
def test_agrees_with_detection_eval_from_file_to_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The devkit opens the same tables and the same results file."""
    pytest.importorskip("nuscenes", reason="needs the nuscenes-devkit")
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    from lidarloop_training.data.nuscenes.reader import NuScenesSource
    from lidarloop_training.data.nuscenes.writer import write_nuscenes

    root = tmp_path / "tables"
    write_nuscenes(make_drive(8, scene="scene-0103"), root, keyframe_every=1, cameras=False)
    source = NuScenesSource(root)
    in_memory = type(make_drive(1))(tuple(source[i] for i in range(len(source))))
    results = tmp_path / "detections.json"
    write_results(results, detect(in_memory, "world"), {"frame": "world"})
    assert cli.main(["evaluate", str(results), str(root), "--out", str(tmp_path / "out")]) == 0
    ours = json.loads((tmp_path / "out/metrics.json").read_text())

    devkit = NuScenes("v1.0-mini", str(root), verbose=False)
    config = config_factory("detection_cvpr_2019")
    theirs, _ = DetectionEval(devkit, config, str(results), "mini_val", str(tmp_path / "devkit"), False).evaluate()
    names = dict(zip(("ATE", "ASE", "AOE", "AVE", "AAE"), theirs.tp_errors.values(), strict=True))
    assert ours["mAP_all_classes"] == pytest.approx(theirs.mean_ap, abs=1e-6)
    assert ours["NDS_all_classes"] == pytest.approx(theirs.nd_score, abs=1e-6)
    # The tables are in float64, our boxes in float32: this leaves 3e-7 m of translation error.
    assert ours["errors_all_classes"] == pytest.approx(names, abs=1e-6)
