"""The import arrows of the house: between distributions, between the folders of each, and no torch onboard."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.arrow_table import TABLES
from tests.architecture.imports import (
    SOURCES,
    Module,
    arrows,
    folders,
    imported_modules,
    imported_packages,
    modules,
    violations,
)

PACKAGES = ("lidarloop_core", "lidarloop_ros", "lidarloop_training", "lidarloop_export")
MAY_IMPORT = {
    "lidarloop_core": {"lidarloop_core"},
    "lidarloop_ros": {"lidarloop_ros", "lidarloop_core"},
    "lidarloop_training": {"lidarloop_training", "lidarloop_core"},
    "lidarloop_export": {"lidarloop_export", "lidarloop_training", "lidarloop_core"},
}
LEARNING = {"torch", "accelerate", "safetensors", "tensorboard", "onnxscript", "spconv", "transformers"}
ROS = {
    "rclpy", "launch", "launch_ros", "tf2_ros", "tf2_msgs", "message_filters", "sensor_msgs", "vision_msgs", "nav_msgs",
    "std_msgs", "geometry_msgs", "visualization_msgs", "diagnostic_msgs", "lifecycle_msgs", "builtin_interfaces",
}  # fmt: skip
TORCH_FREE_TRAINING = ("data", "toytown", "evaluation")


# --- between distributions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_between_distributions_point_one_way(repository: Path, package: str) -> None:
    forbidden = {*PACKAGES, "benchmarks", "tests"} - MAY_IMPORT[package]
    if package in ("lidarloop_core", "lidarloop_ros"):
        forbidden |= LEARNING
    if package != "lidarloop_ros":
        forbidden |= ROS
    wrong = {
        module.name: sorted(found)
        for module in modules(repository, package)
        if (found := imported_packages(module.source) & forbidden)
    }
    assert wrong == {}


@pytest.mark.parametrize("package", SOURCES)
def test_no_relative_imports_hide_an_arrow(repository: Path, package: str) -> None:
    wrong = [
        module.name
        for module in modules(repository, package)
        for node in ast.walk(ast.parse(module.source))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert wrong == []


# --- between the folders of a distribution ----------------------------------------------------------------------------


@pytest.mark.parametrize("package", TABLES)
def test_every_import_between_folders_is_in_the_table(repository: Path, package: str) -> None:
    found = violations(modules(repository, package), TABLES[package])
    assert not found, "imports that tests/architecture/arrow_table.py does not allow:\n" + "\n".join(
        f"  {row.module} imports {row.imports} ({row.arrow})" for row in found
    )


@pytest.mark.parametrize("package", TABLES)
def test_the_table_has_every_folder_and_no_arrow_without_an_import(repository: Path, package: str) -> None:
    table, found = TABLES[package], modules(repository, package)
    allowed = {(source, target) for source, targets in table.items() for target in targets}
    assert folders(found) - table.keys() == set(), "folders without a row in the table"
    assert table.keys() - folders(found) == set(), "rows of folders that do not exist"
    assert allowed - arrows(found).keys() == set(), "arrows that no import needs any more: delete them"


@pytest.mark.parametrize("package", TABLES)
def test_the_table_has_no_circle(package: str) -> None:
    graphlib.TopologicalSorter(TABLES[package]).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("package", SOURCES)
def test_modules_do_not_import_each_other_in_a_circle(repository: Path, package: str) -> None:
    found = modules(repository, package)
    known = {module.name for module in found}
    graphlib.TopologicalSorter(
        {module.name: imported_modules(module.source, known) & known - {module.name} for module in found}
    ).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize(
    "line",
    [
        "import lidarloop_core.model.spec",
        "from lidarloop_core.model import spec",
        "from lidarloop_core.model.spec import ModelSpec",
        "def late():\n    from lidarloop_core.model.spec import ModelSpec",
        "if TYPE_CHECKING:\n    from lidarloop_core.model.spec import ModelSpec",
    ],
)
def test_one_forbidden_import_is_found(repository: Path, line: str) -> None:
    path = repository / "pointcloud" / "new.py"
    new = Module("lidarloop_core.pointcloud.new", path, line)
    before = violations(modules(repository, "lidarloop_core"), TABLES["lidarloop_core"])
    after = violations([*modules(repository, "lidarloop_core"), new], TABLES["lidarloop_core"])
    assert set(after) - set(before) == {
        ("lidarloop_core.pointcloud.new", "lidarloop_core.model.spec", "pointcloud → model")
    }


def test_a_folder_without_a_row_may_import_nothing(repository: Path) -> None:
    new = Module(
        "lidarloop_core.radar.reader", Path("radar/reader.py"), "from lidarloop_core.errors import ConfigError"
    )
    found = violations([*modules(repository, "lidarloop_core"), new], TABLES["lidarloop_core"])
    assert ("lidarloop_core.radar.reader", "lidarloop_core.errors", "radar → errors") in found


# --- no torch where it is not needed ----------------------------------------------------------------------------------


def test_data_toytown_and_evaluation_name_no_torch(repository: Path) -> None:
    wrong = [
        module.name
        for module in modules(repository, "lidarloop_training")
        if module.name.split(".")[1:2] and module.name.split(".")[1] in TORCH_FREE_TRAINING
        if imported_packages(module.source) & LEARNING
    ]
    assert wrong == []


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_making_and_scoring_a_drive_loads_no_torch() -> None:
    loaded = loaded_after(
        "from lidarloop_training.commands.convert import convert\n"
        "from lidarloop_training.commands.evaluate import evaluate\n"
        "from lidarloop_training.toytown.drive import ToyTownDrive"
    )
    assert "lidarloop_training" in loaded
    assert not loaded & {"torch", "rclpy"}


def test_the_onboard_node_loads_no_torch(repository: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    loaded = loaded_after(
        "from lidarloop_core.inference.backend import open_backend\n"
        "from pathlib import Path\n"
        "import lidarloop_ros.detector.node\n"
        f"open_backend(Path({str(repository / 'models/pillar-toytown.onnx')!r}))"
    )
    assert {"rclpy", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "lidarloop_training", "lidarloop_export", "onnx"}


def test_the_command_starts_without_heavy_imports() -> None:
    assert not loaded_after("import lidarloop_core.cli") & {"numpy", "torch", "rclpy", "onnxruntime", "matplotlib"}
