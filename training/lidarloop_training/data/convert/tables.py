"""A drive with poses and boxes to nuScenes tables, which training and the nuScenes devkit read."""

from __future__ import annotations

from pathlib import Path

from lidarloop_training.data.convert.drive import Converted, MaskNames, open_drive
from lidarloop_training.data.convert.options import ConvertOptions, TablesLayout
from lidarloop_training.data.drive_spec import Drive
from lidarloop_training.data.nuscenes.scene import picture_filename, sample_token
from lidarloop_training.data.nuscenes.writer import check_destination, plan, write_nuscenes


def convert_to_tables(
    drive: Drive, dst: Path, layout: TablesLayout | None = None, options: ConvertOptions | None = None
) -> Converted:
    """Writes a drive as nuScenes tables, and its masks as DST/masks.json.

    Args:
        drive: what is read; it must have ego-motion and annotations.
        dst: the folder to make.
        layout: which frames are keyframes and sweeps; see there for the defaults.
        options: what is taken along; see there for the defaults.

    Raises:
        ConfigError: see ``open_drive``.
        DatasetError: ``dst`` is taken; see also ``open_drive`` and ``write_nuscenes``.
    """
    layout, options = layout or TablesLayout(), options or ConvertOptions()
    check_destination(dst, options.overwrite)
    opened = open_drive(drive, options, MaskNames(sample_token, picture_filename))
    source = opened.source
    num_written = len(plan(len(source), layout.keyframe_every, layout.sweeps_per_keyframe, options.cameras))
    with opened.progress(num_written) as on_sample:
        write_nuscenes(
            source,
            dst,
            keyframe_every=layout.keyframe_every,
            sweeps_per_keyframe=layout.sweeps_per_keyframe,
            cameras=options.cameras,
            num_workers=options.num_workers,
            overwrite=options.overwrite,
            on_sample=on_sample,
        )
    if opened.masks is None:
        return Converted(dst, len(source))
    opened.masks.write(dst / "masks.json")
    return Converted(dst, len(source), dst / "masks.json")
