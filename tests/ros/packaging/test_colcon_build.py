"""`colcon build` of ros2_ws, and the node started from its install space as a vehicle would."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from lifecycle_msgs.msg import State

from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node

# One worker builds once for all of them.

PACKAGES = {"lidarloop_core", "lidarloop_ros", "lidarloop_bringup"}

# Runs its arguments in a shell that has sourced the workspace, as users do.
SOURCED = ("bash", "-c", 'source "$0" && exec "$@"')


class InstalledNode(NodeProcess):
    """A node run by its installed executable, not by `python -m`."""

    def __init__(self, command: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.fixture(scope="module")
def install(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The install space of a fresh build."""
    colcon = shutil.which("colcon", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if colcon is None:
        pytest.skip("colcon is not installed")
    folder = tmp_path_factory.mktemp("colcon")
    # Where the wheels are; a sourced ROS 2 says more, and stays.
    prefixes = os.pathsep.join(filter(None, [sys.prefix, os.environ.get("AMENT_PREFIX_PATH")]))
    environment = {
        **os.environ,
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_PREFIX_PATH": prefixes,
        "COLCON_LOG_PATH": str(folder / "log"),
    }
    bases = ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    result = subprocess.run(
        [colcon, "build", *bases],
        cwd=repository / "ros2_ws",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    return folder / "install"


def test_builds_our_packages_and_no_others(install: Path) -> None:
    assert {path.name for path in install.iterdir() if path.is_dir()} == PACKAGES


def test_puts_everything_where_ros2_looks(install: Path, repository: Path) -> None:
    """`ros2 run` looks into lib/<package>, `ros2 launch` into share/<package>, both by the ament index."""
    for package in PACKAGES:
        assert (install / package / "share" / "ament_index" / "resource_index" / "packages" / package).is_file()
    assert os.access(install / "lidarloop_ros" / "lib" / "lidarloop_ros" / "lidar_detector", os.X_OK)
    share = install / "lidarloop_bringup" / "share" / "lidarloop_bringup"
    installed = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
    assert {
        "launch/perception.launch.py",
        "config/detector.yaml",
        "config/fastdds.xml",
        "rviz/perception.rviz",
        "foxglove/perception.json",
        "package.xml",
    } <= installed
    assert (share / "config" / "fastdds.xml").read_text() == (repository / "launch/config/fastdds.xml").read_text()


@pytest.mark.parametrize("package", ["lidarloop_core", "lidarloop_ros"])
def test_installs_every_module(install: Path, repository: Path, package: str) -> None:
    """A folder that is no package would be left out, and nobody would notice in a checkout."""
    source = repository / "ros2_ws" / "src" / package
    (site,) = (install / package / "lib").glob("python*/site-packages")
    modules = {str(path.relative_to(source)) for path in (source / package).rglob("*.py")}
    installed = {str(path.relative_to(site)) for path in (site / package).rglob("*.py")}
    assert installed == modules


def test_installed_code_hides_the_checkouts(install: Path) -> None:
    code = "import lidarloop_core, lidarloop_ros; print(lidarloop_core.__file__, lidarloop_ros.__file__)"
    command = [*SOURCED, str(install / "setup.bash"), sys.executable, "-c", code]
    files = subprocess.run(command, capture_output=True, text=True, check=True, cwd=install).stdout.split()
    assert [install in Path(file).parents for file in files] == [True, True], files


def test_node_starts_from_the_install_space(install: Path, make_model: Callable[..., Path]) -> None:
    """With the installed parameter file, brought up to `active`."""
    executable = install / "lidarloop_ros" / "lib" / "lidarloop_ros" / "lidar_detector"
    params_file = install / "lidarloop_bringup" / "share" / "lidarloop_bringup" / "config" / "detector.yaml"
    arguments = ["--params-file", str(params_file), "-p", f"model:={make_model()}"]
    command = [*SOURCED, str(install / "setup.bash"), str(executable), "--ros-args", *arguments, "-r", "__ns:=/front"]
    with isolated_node("operator") as node, InstalledNode(command) as process:
        detector = ManagedNode(node, process, "/front/lidar_detector")
        assert detector.state().id == State.PRIMARY_STATE_UNCONFIGURED
        detector.configure()
        detector.activate()
        assert detector.state().id == State.PRIMARY_STATE_ACTIVE
        assert process.stop() == 0


def test_manifest_names_what_the_code_imports(repository: Path) -> None:
    """A vehicle installs what package.xml names, and nothing else."""
    package = repository / "ros2_ws" / "src" / "lidarloop_ros"
    imported = set()
    for path in (package / "lidarloop_ros").rglob("*.py"):
        for statement in ast.walk(ast.parse(path.read_text())):
            if isinstance(statement, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                imported.add(statement.module.split(".")[0])
    named = {element.text or "" for element in ElementTree.parse(package / "package.xml").iter("exec_depend")}
    without_rosdep_key = {"tyro"}
    # Its C++ side is a package of its own, which has the module's name.
    module_of = {"tf2_ros_py": "tf2_ros"}
    assert imported - set(sys.stdlib_module_names) - {"lidarloop_ros"} - without_rosdep_key == {
        module_of.get(name, name.removeprefix("python3-")) for name in named
    }


def test_one_version_for_all(repository: Path) -> None:
    versions = {}
    for name in PACKAGES:
        folder = repository / "ros2_ws" / "src" / name
        manifest = ElementTree.parse(folder / "package.xml").findtext("version")
        assert f'version="{manifest}"' in (folder / "setup.py").read_text()
        versions[name] = manifest
    assert len(set(versions.values())) == 1, versions
