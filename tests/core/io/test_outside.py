from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.outside import below, safe_name, topic_part

HOSTILE = ["../../../../evil", "/etc/passwd", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "n" * 300, "C:\\x", " "]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_becomes_one_plain_part_of_a_path(name: str) -> None:
    safe = safe_name(name)
    assert Path(safe).name == safe not in ("", ".", "..", name)
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 120


@pytest.mark.parametrize(
    "name", ["CAM_FRONT", "scene-0061", "n015-2018+0800", "2011_09_26_drive_0001_sync", "Straße 7"]
)
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@given(st.text(max_size=200), st.text(max_size=200))
def test_different_names_stay_different_and_below_the_folder(first: str, second: str) -> None:
    folder = Path("/data/out")
    for name in (first, second):
        assert (folder / safe_name(name)).resolve().parent == folder
    if first != second:
        assert safe_name(first) != safe_name(second)


@given(st.text(max_size=100))
def test_a_part_of_a_topic_has_letters_digits_and_underscores_alone(name: str) -> None:
    part = topic_part(name)
    assert part
    assert not part[0].isdigit()
    assert part.isascii()
    assert part.replace("_", "a").isalnum()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "", "C:\\x", "..\\x", "a\0b", None, 7]
)
def test_a_file_outside_the_root_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"sample_data\.json: names the file .*expected one below /data"):
        below(Path("/data"), name, "sample_data.json")


def test_a_file_below_the_root_is_taken() -> None:
    assert below(Path("/data"), "samples/LIDAR_TOP/a..b.bin", "t") == Path("/data/samples/LIDAR_TOP/a..b.bin")
