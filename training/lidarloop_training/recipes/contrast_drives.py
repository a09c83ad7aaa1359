"""Contrastive pre-training on a user's drives, at the size and with the image encoder of the paper.

Source: Cai et al., sections II and III: CenterPoint on pillars and on voxels, MoCo v3's ResNet-50, P2 + P3 + P4. What
the paper does not state is its neighbours': a projection of 64 channels and 50 epochs of SLidR, a temperature of 0.1
and one cycle to 3e-3 of ProposalContrast.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.losses.contrastive import ContrastiveConfig
from lidarloop_training.models.image.encoder import ImageEncoderConfig
from lidarloop_training.recipes.contrast_toytown import image_encoder
from lidarloop_training.recipes.pillar_drives import pillar_drives
from lidarloop_training.recipes.segment_drives import segment_drives
from lidarloop_training.recipes.voxel_nuscenes import voxel_nuscenes
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.pretext.pictures.task import PictureConfig
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig

_NUM_STEPS = 350_000
"""Fifty epochs of nuScenes' 28,130 samples in batches of four."""

_NUM_NEGATIVES = 512
"""Half of the thousand seeds that units are made of."""

_IMAGES = ImageEncoderConfig(kind="moco-v3", path=Path("models/moco-v3-r50.pth.tar"), max_width=416)
"""SLidR's width of a picture; a map's cell at 1/4 of it is some 15 pixels of nuScenes' 1600."""

_OPTIMISATION = OptimisationConfig(num_steps=_NUM_STEPS, schedule=OneCycleConfig(peak_learning_rate=3e-3))


def contrast_drives(path: Path = tyro.MISSING) -> TrainConfig[DetectorContrastConfig]:
    """Encoder and backbone of ``pillar_drives``.

    Args:
        path: folder of the drives.
    """
    pillars = pillar_drives(path)
    return TrainConfig(
        task=DetectorContrastConfig(
            spec=pillars.task.spec,
            network=pillars.task.network,
            image=_IMAGES,
            loss=ContrastiveConfig(num_negatives=_NUM_NEGATIVES),
        ),
        data=DriveFolder(path, cameras=True),
        optimisation=_OPTIMISATION,
        run=RunConfig(out=Path("out/contrast-drives"), num_workers=4),
    )


def contrast_voxel_nuscenes(path: Path = tyro.MISSING) -> TrainConfig[DetectorContrastConfig]:
    """Encoder and backbone of ``voxel_nuscenes``.

    Args:
        path: folder of the drives.
    """
    contrast, voxels = contrast_drives(path), voxel_nuscenes(path)
    return dataclasses.replace(
        contrast,
        task=dataclasses.replace(contrast.task, spec=voxels.task.spec, network=voxels.task.network),
        run=dataclasses.replace(contrast.run, out=Path("out/contrast-voxel-nuscenes")),
    )


def contrast_segment_drives(path: Path = tyro.MISSING) -> TrainConfig[SegmenterContrastConfig]:
    """Encoder and decoder of ``segment_drives``; unlike there, points need no labels.

    Args:
        path: folder of the drives.
    """
    contrast, segmenter = contrast_drives(path), segment_drives(path)
    return TrainConfig(
        task=SegmenterContrastConfig(
            spec=segmenter.task.spec,
            network=segmenter.task.network,
            image=contrast.task.image,
            loss=contrast.task.loss,
        ),
        data=contrast.data,
        optimisation=contrast.optimisation,
        run=dataclasses.replace(contrast.run, out=Path("out/contrast-segment-drives")),
    )


def image_encoder_drives(path: Path = tyro.MISSING) -> TrainConfig[PictureConfig]:
    """A small image encoder on the drives' own pictures.

    Args:
        path: folder of the drives.
    """
    encoder = image_encoder()
    return dataclasses.replace(
        encoder,
        data=DriveFolder(path, cameras=True),
        optimisation=dataclasses.replace(encoder.optimisation, num_steps=20_000),
        run=RunConfig(out=Path("out/image-encoder-drives"), num_workers=4),
    )
