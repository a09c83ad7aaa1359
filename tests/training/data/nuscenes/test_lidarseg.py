"""Tables by our own writer (which the devkit opens), the lidarseg package beside them by these tests, as published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_training.data.drive_spec import NuScenesLidarseg
from lidarloop_training.data.nuscenes.lidarseg import NuScenesLidarsegSource, with_point_labels
from lidarloop_training.data.nuscenes.lidarseg_classes import CATEGORY_TO_LABEL_NAME, LABEL_NAMES
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.sources import MadeSource, assert_names_labels_and_poses_need_no_cloud

if TYPE_CHECKING:
    from lidarloop_core.sample import Sample
    from tests.training.street import StreetSource


CATEGORIES = sorted(CATEGORY_TO_LABEL_NAME)  # indices of the test's own; the published table tells others


def _raw_labels(sample_token: str, num_points: int) -> np.ndarray:
    seed = int(sample_token[:8], 16)
    return np.random.default_rng(seed).integers(0, len(CATEGORIES), num_points, dtype=np.uint8)


@pytest.fixture
def root(street: StreetSource, tmp_path: Path) -> Path:
    root = tmp_path / "nuscenes"
    write_nuscenes(street, root, keyframe_every=5)
    source = NuScenesSource(root)
    tables = root / source.version
    records = []
    (root / "lidarseg" / source.version).mkdir(parents=True)
    for record in json.loads((tables / "sample_data.json").read_text()):
        if record["is_key_frame"] and "LIDAR_TOP" in record["filename"]:
            filename = f"lidarseg/{source.version}/{record['token']}_lidarseg.bin"
            (root / filename).write_bytes(_raw_labels(record["sample_token"], 400).tobytes())
            records.append({"token": record["token"], "sample_data_token": record["token"], "filename": filename})
    (tables / "lidarseg.json").write_text(json.dumps(records))
    known = {record["name"]: record for record in json.loads((tables / "category.json").read_text())}
    categories = [
        {"token": f"c{i}", "description": "", **known.get(name, {}), "name": name, "index": i}
        for i, name in enumerate(CATEGORIES)
    ]
    (tables / "category.json").write_text(json.dumps(categories))
    return root


def test_labels_of_keyframes(root: Path) -> None:
    plain = NuScenesSource(root, num_sweeps=3)
    source = NuScenesLidarsegSource(plain)
    assert len(source) == len(plain) == 3
    for i in range(3):
        sample = source[i]
        newest = sample.keyframe
        assert newest.columns == ("x", "y", "z", "intensity", "ring", "label")
        np.testing.assert_array_equal(newest.points[:, :5], plain[i].keyframe.points)
        raw = _raw_labels(sample.token, 400)
        expected = [LABEL_NAMES.index(CATEGORY_TO_LABEL_NAME[CATEGORIES[category]]) for category in raw]
        assert newest.points[:, 5].tolist() == expected
        for older in sample.sweeps[1:]:
            assert older.columns == newest.columns
            assert not older.points[:, 5].any()
        assert sample.point_classes == LABEL_NAMES
    assert len(source[2].sweeps) == 3


CLASSES = ("anything", "sidewalk", "car", "bus", "vegetation", "driveable_surface", "other_flat")


@dataclasses.dataclass(frozen=True)
class LabelledStreet(MadeSource):
    """The street with a label for each point of each sweep, among classes in an order of the test's own."""

    street: StreetSource
    classes: tuple[str, ...] = CLASSES

    def __len__(self) -> int:
        return len(self.street)

    def __getitem__(self, index: int) -> Sample:
        sample = self.street[index]
        sweep = sample.keyframe
        labels = np.random.default_rng(index).integers(0, len(self.classes), len(sweep.points))
        points = np.column_stack([sweep.points, labels]).astype(np.float32)
        labelled = dataclasses.replace(sweep, points=points, columns=(*sweep.columns, "label"))
        return dataclasses.replace(sample, sweeps=(labelled,), point_classes=self.classes)


def test_written_labels_are_read_back(street: StreetSource, tmp_path: Path) -> None:
    labelled = LabelledStreet(street)
    root = write_nuscenes(labelled, tmp_path / "labelled", keyframe_every=5)
    source = with_point_labels(NuScenesSource(root))
    assert isinstance(source, NuScenesLidarsegSource)
    for i in range(3):
        newest, expected = source[i].keyframe, labelled[5 * i].keyframe
        np.testing.assert_array_equal(newest.points[:, :5], expected.points[:, :5])
        names = [LABEL_NAMES[int(label)] for label in newest.points[:, 5]]
        assert names == ["ignore" if label == 0 else CLASSES[int(label)] for label in expected.points[:, 5]]


def test_tables_without_labels_stay_as_they_were(street: StreetSource, tmp_path: Path) -> None:
    root = write_nuscenes(street, tmp_path / "plain", keyframe_every=5)
    tables = root / "v1.0-mini"
    assert not (root / "lidarseg").exists()
    assert not (tables / "lidarseg.json").exists()
    assert len(list(tables.iterdir())) == 13
    assert "index" not in (tables / "category.json").read_text()
    source = NuScenesSource(root)
    assert with_point_labels(source) is source


def test_classes_that_lidarseg_does_not_have_are_refused(street: StreetSource, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="points labelled as trunk; nuScenes tables take barrier"):
        write_nuscenes(LabelledStreet(street, (*CLASSES, "trunk")), tmp_path / "labelled")


def test_the_devkit_reads_what_we_write(street: StreetSource, tmp_path: Path) -> None:
    devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper
    from nuscenes.utils.data_io import load_bin_file

    root = write_nuscenes(LabelledStreet(street), tmp_path / "labelled", keyframe_every=5)
    nusc = devkit.NuScenes("v1.0-mini", str(root), verbose=False)
    assert len(nusc.lidarseg) == len(nusc.sample) == 3
    assert nusc.lidarseg_idx2name_mapping == dict(enumerate(CATEGORY_TO_LABEL_NAME))
    mapper, source = LidarsegClassMapper(nusc), with_point_labels(NuScenesSource(root))
    for i, record in enumerate(nusc.sample):
        path = Path(nusc.dataroot) / nusc.get("lidarseg", record["data"]["LIDAR_TOP"])["filename"]
        theirs = mapper.convert_label(load_bin_file(str(path), "lidarseg"))
        np.testing.assert_array_equal(source[i].keyframe.points[:, 5], theirs)


def test_a_folder_of_drives_is_opened_as_one(street: StreetSource, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_nuscenes(LabelledStreet(street), tmp_path / "drives" / name, keyframe_every=5, cameras=False)
    source = NuScenesLidarseg(tmp_path / "drives").open(num_sweeps=2)
    assert len(source) == 6
    assert all(source[i].keyframe.columns[-1] == "label" for i in (0, 5))


def test_classes_are_the_devkit_s() -> None:
    pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed")
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

    indices = {name: i for i, name in enumerate(CATEGORIES)}
    tables = SimpleNamespace(
        lidarseg_name2idx_mapping=indices, category=[{"name": name, "index": i} for name, i in indices.items()]
    )
    mapper = LidarsegClassMapper(tables)
    assert mapper.fine_name_2_coarse_name_mapping == CATEGORY_TO_LABEL_NAME
    assert mapper.coarse_name_2_coarse_idx_mapping == {name: i for i, name in enumerate(LABEL_NAMES)}


def test_errors_name_the_file(root: Path) -> None:
    source = NuScenesLidarsegSource(NuScenesSource(root))
    paths = sorted((root / "lidarseg").rglob("*_lidarseg.bin"))
    paths[0].write_bytes(b"\0" * 399)
    paths[1].write_bytes(b"\xc8" * 400)
    paths[2].unlink()
    messages = []
    for i in range(3):
        with pytest.raises(DatasetError) as error:
            source[i]
        messages.append(str(error.value))
    assert sum(f"{paths[0]}: received 399 bytes; expected 400" in message for message in messages) == 1
    assert sum(f"{paths[1]}: received indices [200]" in message for message in messages) == 1
    assert sum(f"{paths[2]}: cannot be read" in message for message in messages) == 1


def test_a_missing_package_is_named(street: StreetSource, root: Path, tmp_path: Path) -> None:
    write_nuscenes(street, tmp_path / "plain", keyframe_every=5)
    plain = NuScenesSource(tmp_path / "plain")
    with pytest.raises(DatasetError, match=r"lidarseg\.json"):
        NuScenesLidarsegSource(plain)
    (plain.root / plain.version / "lidarseg.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"category\.json.*without an index"):
        NuScenesLidarsegSource(plain)
    (root / plain.version / "lidarseg.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"no entry in lidarseg\.json"):
        NuScenesLidarsegSource(NuScenesSource(root))[0]


def test_names_labels_and_poses_need_no_cloud(root: Path) -> None:
    source = NuScenesLidarsegSource(NuScenesSource(root))
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.nuscenes.reader.read_format")
