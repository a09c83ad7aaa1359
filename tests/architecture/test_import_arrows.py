"""The import arrows of the house: core ← ros; core ← training ← export; nothing points back, and no torch onboard."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "lidarloop_core": "ros2_ws/src/lidarloop_core/lidarloop_core",
    "lidarloop_ros": "ros2_ws/src/lidarloop_ros/lidarloop_ros",
    "lidarloop_training": "training/lidarloop_training",
    "lidarloop_export": "export/lidarloop_export",
}
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
NEEDS_TORCH = "pillar_dataset.py"  # the one data module that yields tensors


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def modules(repository: Path, package: str) -> list[Path]:
    found = sorted((repository / PACKAGES[package]).rglob("*.py"))
    assert found, f"{package} has no modules at {PACKAGES[package]}"
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(repository: Path, package: str) -> None:
    forbidden = set(PACKAGES) - MAY_IMPORT[package]
    if package in ("lidarloop_core", "lidarloop_ros"):
        forbidden |= LEARNING
    if package != "lidarloop_ros":
        forbidden |= ROS
    wrong = {
        str(module.relative_to(repository)): sorted(imported_packages(module.read_text()) & forbidden)
        for module in modules(repository, package)
        if imported_packages(module.read_text()) & forbidden
    }
    assert wrong == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(repository: Path, package: str) -> None:
    """setuptools leaves a folder without __init__.py out of what it installs."""
    folders = {module.parent for module in modules(repository, package)}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_relative_imports_hide_an_arrow(repository: Path) -> None:
    wrong = [
        str(module.relative_to(repository))
        for package in PACKAGES
        for module in modules(repository, package)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert wrong == []


def test_data_toytown_and_evaluation_name_no_torch(repository: Path) -> None:
    wrong = [
        str(module.relative_to(repository))
        for folder in TORCH_FREE_TRAINING
        for module in sorted((repository / PACKAGES["lidarloop_training"] / folder).rglob("*.py"))
        if module.name != NEEDS_TORCH and imported_packages(module.read_text()) & LEARNING
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
