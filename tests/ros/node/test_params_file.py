"""Parameter files: which of them set something for a node, by ROS's rules; all others are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_ros.node.params_file import MAX_BYTES, parameters_for

NODE = "/front/lidar_detector"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "names",
    [
        "/**:",
        "/front/lidar_detector:",
        "front/lidar_detector:",
        "/*/lidar_detector:",
        "/**/lidar_detector:",
        "/front/**:",
        "/**:\n lidar_detector:",
        "front:\n lidar_detector:",
        "/front/*:",
    ],
)
def test_a_name_that_matches_gives_the_parameters(tmp_path: Path, names: str) -> None:
    path = written(tmp_path, f"{names}\n    ros__parameters:\n      a: 1\n      b: {{c: [x, y]}}\n")
    assert parameters_for(path, NODE) == {"a": 1, "b.c": ["x", "y"]}


def test_later_entries_win(tmp_path: Path) -> None:
    path = written(
        tmp_path, "/**:\n  ros__parameters: {a: 1, b: 2}\n/front/lidar_detector:\n  ros__parameters: {b: 3}\n"
    )
    assert parameters_for(path, NODE) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other_node:\n  ros__parameters:\n    a: 1\n", "it names /other_node"),
        ("lidar_detector:\n  ros__parameters:\n    a: 1\n", "it names /lidar_detector; expected"),
        ("/*:\n  ros__parameters:\n    a: 1\n", "it names /*"),
        ("score_threshold: 0.5\n", "no `ros__parameters`"),
        ("lidar_detector:\n  a: 1\n", "no `ros__parameters`"),
        ("/**:\n  ros__parameters:\n", "sets no parameter"),
        ("/**:\n  ros__parameters: {}\n", "sets no parameter"),
        ("", "sets no parameter"),
        ("- a\n- b\n", "sets no parameter"),
        ("/**:\n\tros__parameters:\n\t\ta: 1\n", "line 2: found character '\\t'"),
        ("/**: [\n", "is no YAML"),
        (b"\xff\xfe\x00\x00", "is no YAML"),
        (b"a: \x00", "is no YAML"),
        ("[" * 100_000, "is no YAML"),
        (b"#" * (MAX_BYTES + 1), "expected a YAML file of at most"),
    ],
)
def test_a_file_without_effect_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters_for(written(tmp_path, text), NODE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is not a file"):
            parameters_for(path, NODE)
