"""tools/setup_ros.py, which completes ROS 2 from pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

STANDIN_MODULES = ("message_filters", "sensor_msgs_py", "tf2_ros")


@pytest.fixture
def setup_ros(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_ros", repository / "tools" / "setup_ros.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_second_run_generates_nothing(repository: Path) -> None:
    further = [name for name in ("autoware_perception_msgs",) if importlib.util.find_spec(name) is not None]
    result = subprocess.run(
        [sys.executable, repository / "tools" / "setup_ros.py", *further],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "generating" not in result.stdout
    assert "complete" in result.stdout or "using the sourced" in result.stdout


def test_standins_come_last_on_the_path(setup_ros: ModuleType, tmp_path: Path) -> None:
    if setup_ros.is_outside(Path(sys.prefix), "rclpy"):
        pytest.skip("a ROS 2 is sourced: no stand-ins are installed")
    for name in STANDIN_MODULES:
        (tmp_path / f"{name}.py").touch()
    code = "import sys; print(sys.path[-1]); import " + ", ".join(STANDIN_MODULES)
    code += f"; print(*(m.__file__ for m in ({', '.join(STANDIN_MODULES)})))"

    def imported_with(python_path: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": python_path}
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path.parent,
        ).stdout.split()

    last, *files = imported_with("")
    assert last == str(setup_ros.STANDINS_FOLDER)
    assert all(Path(last) in Path(file).parents for file in files)
    _, *files = imported_with(str(tmp_path))
    assert [Path(file).parent for file in files] == [tmp_path] * len(STANDIN_MODULES), "a real module must win"


def test_stamp_follows_the_field_lists(setup_ros: ModuleType, tmp_path: Path) -> None:
    package = Path(shutil.copytree(setup_ros.PIP_ROS_FOLDER / "tf2_msgs", tmp_path / "tf2_msgs"))
    before = setup_ros.package_stamp(package)
    assert before == setup_ros.package_stamp(setup_ros.PIP_ROS_FOLDER / "tf2_msgs")
    field_list = package / "msg" / "TFMessage.msg"
    field_list.write_text(field_list.read_text() + "string more\n")
    assert setup_ros.package_stamp(package) != before


def test_corrects_include_folders_without_touching_hard_links(setup_ros: ModuleType, tmp_path: Path) -> None:
    line = 'set_target_properties(x PROPERTIES\n  INTERFACE_INCLUDE_DIRECTORIES "{}"\n)\n'
    exported = tmp_path / "share" / "x_msgs" / "cmake" / "export_x_msgs__rosidl_generator_pyExport.cmake"
    exported.parent.mkdir(parents=True)
    cached = tmp_path / "cached.cmake"
    cached.write_text(line.format("/opt/python/include;/opt/numpy"))
    exported.hardlink_to(cached)

    setup_ros.point_to_this_python(tmp_path)
    first, *rest = exported.read_text().split('"')[1].split(";")
    assert first == sysconfig.get_path("include")
    assert [Path(folder).name for folder in rest] == ["include"]
    assert "/opt/python/include" in cached.read_text()

    inode = exported.stat().st_ino
    setup_ros.point_to_this_python(tmp_path)
    assert exported.stat().st_ino == inode
    assert list(exported.parent.iterdir()) == [exported]


def test_refuses_a_systems_python(setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    with pytest.raises(setup_ros.SetupError, match="not a virtual environment"):
        setup_ros.check_wheels(Path(sys.prefix))


def test_names_what_a_sourced_ros_lacks(setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_ros, "packages_that_do_not_import", lambda: ["vision_msgs", "tf2_ros_py"])
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(setup_ros.SetupError, match="sudo apt install ros-jazzy-vision-msgs ros-jazzy-tf2-ros-py"):
        setup_ros.check_sourced_ros()


def test_a_sourced_ros_may_lack_what_the_nodes_do_without(
    setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup_ros, "packages_that_do_not_import", list)
    monkeypatch.setattr(setup_ros, "location_of", lambda module: Path("/opt/rclpy.py") if module == "rclpy" else None)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    setup_ros.check_sourced_ros(["autoware_perception_msgs"])
    said = capsys.readouterr().out
    assert "autoware_perception_msgs: not installed" in said
    assert "sudo apt install ros-jazzy-autoware-perception-msgs" in said


def test_refuses_a_package_without_field_lists(setup_ros: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup_ros.main(["autoware_percption_msgs"]) == 1
    said = capsys.readouterr().err
    assert "received autoware_percption_msgs; expected" in said
    assert "autoware_perception_msgs, tf2_msgs, vision_msgs" in said


@pytest.mark.parametrize(
    ("folder", "has_stamp", "is_real"),
    [("outside", False, True), ("outside", True, True), ("prefix", False, True), ("prefix", True, False)],
)
def test_a_real_package_is_never_generated_over(
    setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, has_stamp: bool, is_real: bool
) -> None:
    prefix = tmp_path / "prefix"
    if has_stamp:
        stamp = setup_ros.stamp_file_of(prefix, "some_msgs")
        stamp.parent.mkdir(parents=True)
        stamp.touch()
    assert not setup_ros.is_real(prefix, "some_msgs"), "nowhere"
    module = tmp_path / folder / "site" / "some_msgs" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.syspath_prepend(str(module.parents[1]))
    assert setup_ros.is_real(prefix, "some_msgs") == is_real


def test_names_missing_tools(setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(setup_ros.SetupError, match="pip install cmake"):
        setup_ros.build_tools(tmp_path)


def test_names_a_missing_compiler(setup_ros: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(setup_ros.SetupError, match=r"`no-such-compiler -O2` is not found.*apt install g\+\+"):
        setup_ros.build_tools(Path(sys.prefix))


def test_shows_the_end_of_a_failed_step(setup_ros: ModuleType) -> None:
    code = "import sys; print('\\n'.join(f'line {i}' for i in range(100))); sys.exit(3)"
    with pytest.raises(setup_ros.SetupError) as caught:
        setup_ros.run_logged("some_msgs", [sys.executable, "-c", code], dict(os.environ))
    message = str(caught.value)
    assert "exit status 3" in message
    assert "line 99" in message
    assert "line 10\n" not in message
    (log,) = (Path(word.rstrip(",")) for word in message.split() if word.rstrip(",").endswith(".log"))
    assert log.read_text().startswith("line 0\n")
    log.unlink()
