"""Contrastive pre-training on the toy town, for pillars, voxels and the U-Net; its rivals; and tiny ones for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.models.image.encoder import ImageEncoderConfig
from lidarloop_training.models.projection import ProjectionConfig
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown
from lidarloop_training.recipes.segment_toytown import segment_smoke, segment_toytown
from lidarloop_training.recipes.voxel_toytown import voxel_toytown
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.pretext.config import GroupingConfig
from lidarloop_training.tasks.pretext.masked.task import MaskedBevConfig
from lidarloop_training.tasks.pretext.pictures.dataset import CropConfig
from lidarloop_training.tasks.pretext.pictures.task import PictureConfig
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig
from lidarloop_training.tasks.pretext.units.units import UnitConfig

IMAGE_ENCODER_FILE = "encoder.safetensors"
"""In the folder of a run of ``image_encoder``: what ``--task.image.path`` takes."""

SPIKE_UNITS = GroupingConfig(units=UnitConfig(num_seeds=256))
"""So many seeds leave some hundred units of a toy-town cloud."""


def pretraining(num_steps: int) -> OptimisationConfig:
    """One cycle to 6e-3, ProposalContrast's kind of schedule at twice its peak; a batch of four clouds."""
    return OptimisationConfig(
        num_steps=num_steps, schedule=OneCycleConfig(peak_learning_rate=6e-3), precision="float32"
    )


def image_encoder() -> TrainConfig[PictureConfig]:
    """A small image encoder on the toy town's own pictures."""
    return TrainConfig(
        task=PictureConfig(spec=pillar_toytown().task.spec),
        data=ToyTownDrives(cameras=True),
        optimisation=OptimisationConfig(
            num_steps=3000, batch_size=16, schedule=OneCycleConfig(peak_learning_rate=2e-3), precision="float32"
        ),
        run=RunConfig(out=Path("out/image-encoder")),
    )


def contrast_toytown() -> TrainConfig[DetectorContrastConfig]:
    """Encoder and backbone of ``pillar_toytown``, clouds against pictures."""
    pillars = pillar_toytown()
    return TrainConfig(
        task=DetectorContrastConfig(spec=pillars.task.spec, network=pillars.task.network, grouping=SPIKE_UNITS),
        data=ToyTownDrives(cameras=True),
        optimisation=pretraining(4000),
        run=RunConfig(out=Path("out/contrast-toytown")),
    )


def contrast_voxel_toytown() -> TrainConfig[DetectorContrastConfig]:
    """The same for encoder and backbone of ``voxel_toytown``."""
    contrast, voxels = contrast_toytown(), voxel_toytown()
    return dataclasses.replace(
        contrast,
        task=dataclasses.replace(contrast.task, spec=voxels.task.spec, network=voxels.task.network),
        run=RunConfig(out=Path("out/contrast-voxel-toytown")),
    )


def contrast_segment_toytown() -> TrainConfig[SegmenterContrastConfig]:
    """The same for encoder and decoder of ``segment_toytown``."""
    contrast, segmenter = contrast_toytown(), segment_toytown()
    return TrainConfig(
        task=SegmenterContrastConfig(spec=segmenter.task.spec, network=segmenter.task.network, grouping=SPIKE_UNITS),
        data=contrast.data,
        optimisation=contrast.optimisation,
        run=RunConfig(out=Path("out/contrast-segment-toytown")),
    )


def masked_bev_toytown() -> TrainConfig[MaskedBevConfig]:
    """The generative rival, without pictures, for encoder and backbone of ``pillar_toytown``."""
    pillars = pillar_toytown()
    return TrainConfig(
        task=MaskedBevConfig(spec=pillars.task.spec, network=pillars.task.network),
        data=ToyTownDrives(),
        optimisation=pretraining(4000),
        run=RunConfig(out=Path("out/masked-bev-toytown")),
    )


def image_encoder_smoke() -> TrainConfig[PictureConfig]:
    """A tiny image encoder and a few steps."""
    config = _in_a_few_steps(image_encoder(), "image-encoder-smoke")
    task = dataclasses.replace(
        config.task, blocks=(1, 1, 1), width=4, crops=CropConfig(size=64), projection=ProjectionConfig(32, 16)
    )
    return dataclasses.replace(config, task=task)


def contrast_smoke() -> TrainConfig[DetectorContrastConfig]:
    """A tiny network and a few steps, on the tiny image encoder."""
    config = _in_a_few_steps(contrast_toytown(), "contrast-smoke")
    task = dataclasses.replace(config.task, network=pillar_smoke().task.network, image=_smoke_images())
    return dataclasses.replace(config, task=task)


def contrast_segment_smoke() -> TrainConfig[SegmenterContrastConfig]:
    """The same for a U-Net."""
    config = _in_a_few_steps(contrast_segment_toytown(), "contrast-segment-smoke")
    task = dataclasses.replace(config.task, network=segment_smoke().task.network, image=_smoke_images())
    return dataclasses.replace(config, task=task)


def _smoke_images() -> ImageEncoderConfig:
    return ImageEncoderConfig(path=image_encoder_smoke().run.out / IMAGE_ENCODER_FILE)


def _in_a_few_steps(config: TrainConfig[Any], name: str) -> TrainConfig[Any]:
    """Drives and steps of ``pillar_smoke``, with pictures."""
    smoke = pillar_smoke()
    return dataclasses.replace(
        config,
        data=dataclasses.replace(smoke.data, cameras=True),
        optimisation=smoke.optimisation,
        run=dataclasses.replace(smoke.run, out=Path("out") / name),
    )
