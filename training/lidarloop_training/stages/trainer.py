"""The training loop: from samples to a checkpoint, resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.intensity import intensity_deciles
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.balanced import balanced
from lidarloop_training.losses.center import CenterLoss, center_loss
from lidarloop_training.models.detector import PillarDetector
from lidarloop_training.stages.checkpoint import (
    config_as_dict,
    latest_checkpoint,
    resume,
    start_from,
    write_checkpoint,
)
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.schedule import one_cycle
from lidarloop_training.tasks.detection.copy_paste import ObjectDatabase
from lidarloop_training.tasks.detection.dataset import (
    NO_AUGMENTATION,
    AugmentConfig,
    ExampleKey,
    PillarBatch,
    PillarDataset,
    StepSampler,
    collate,
    object_database,
)


def open_data(
    data: ToyTownDrives | DriveFolder, num_sweeps: int, console: Console
) -> tuple[SampleSource, SampleSource]:
    """The drives to learn from and those to validate on; toy-town drives that are missing are made."""
    if isinstance(data, DriveFolder):
        return data.open_training(num_sweeps), data.open_validation(num_sweeps)
    prepare(data, num_sweeps, lambda done, of: console.print(f"made drive {done} of {of}"))
    return open_drives(data, data.train_seeds, num_sweeps), open_drives(data, data.validation_seeds, num_sweeps)


def fit(
    config: TrainConfig,
    training: SampleSource,
    validation: SampleSource,
    *,
    accelerator: Accelerator | None = None,
    console: Console | None = None,
    stop_after: int | None = None,
) -> Path:
    """Trains to ``config.optimisation.num_steps``, from the newest checkpoint in ``config.run.out`` on if there is one.

    Args:
        config: the run.
        training: the labelled samples, all of which are learnt from.
        validation: labelled samples, for the loss alone; may be empty.
        accelerator: device and processes; made where None.
        console: where progress is printed; nowhere where None.
        stop_after: stop at this step, as an interruption would; the schedule stays that of the whole run.

    Returns:
        The last checkpoint's folder.
    """
    accelerator = accelerator or new_accelerator()
    spec = replace(config.spec, training_intensity=intensity_deciles(training))
    return _Run(replace(config, spec=spec), accelerator, console or Console(quiet=True)).fit(
        training, validation, stop_after
    )


class _Run:
    """The state of one training run."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, console: Console) -> None:
        self.config = config
        self.accelerator = accelerator
        self.console = console
        self.saved_config = config_as_dict(config)
        if config.run.num_threads:
            torch.set_num_threads(config.run.num_threads)
        torch.manual_seed(config.seed)
        self.detector = PillarDetector(config.spec, config.network)
        self.detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = accelerator.prepare_model(self.detector)
        if config.init_from is not None:
            self.saved_config["init_sha256"] = start_from(config.init_from, self.detector, self.saved_config)
        self.optimizer = torch.optim.AdamW(
            self.detector.parameters(),
            betas=(0.9, config.optimisation.beta2),
            weight_decay=config.optimisation.weight_decay,
        )
        newest = latest_checkpoint(config.run.out)
        self.first_step = 0
        if newest is not None:
            self.first_step = resume(
                newest, self.detector, self.optimizer, self.saved_config, accelerator.num_processes
            )
            console.print(f"resuming from {newest}", soft_wrap=True)

    def fit(self, training: SampleSource, validation: SampleSource, stop_after: int | None) -> Path:
        run, num_steps = self.config.run, self.config.optimisation.num_steps
        last_step = min(num_steps, stop_after or num_steps)
        folder = latest_checkpoint(run.out)
        if folder is not None and self.first_step >= last_step:
            return folder
        loader = self._training_batches(training, last_step)
        with _scalars(run.out, self.accelerator.is_main_process) as scalars:
            clock = _Clock()
            for step, batch in enumerate(loader, self.first_step):
                loss, gradient_norm = self._step(step, batch.to(self.accelerator.device))
                done = step + 1
                is_last = done == last_step
                clock.tick()
                if done % run.log_every == 0 or is_last:
                    self._log(done, loss, gradient_norm, clock.seconds_per_step, scalars)
                if done % run.validate_every == 0 or is_last:
                    self._validate(done, validation, scalars)
                    clock.pause()
                if done % run.checkpoint_every == 0 or is_last:
                    folder = self._write_checkpoint(done)
                    clock.pause()
        assert folder is not None  # num_steps ≥ 1, and the last step writes one
        return folder

    def _step(self, step: int, batch: PillarBatch) -> tuple[CenterLoss, torch.Tensor]:
        now = one_cycle(step, self.config.optimisation.num_steps, self.config.optimisation.schedule)
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = now.learning_rate, (now.beta1, self.config.optimisation.beta2)
        self.network.train()
        loss = self._loss(self.network, batch)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss.total)
        norm = torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.config.optimisation.max_gradient_norm)
        self.optimizer.step()
        return loss, norm

    def _loss(self, network: torch.nn.Module, batch: PillarBatch) -> CenterLoss:
        # Not accelerate's mixed precision, which one process cannot set differently for two runs.
        bfloat16 = self.config.optimisation.precision == "bfloat16"
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=bfloat16):
            output = network(*batch.inputs, batch_size=batch.batch_size)
        return center_loss(output, batch.targets, self.detector.head.group_of_class, self.config.loss)

    def _training_batches(self, source: SampleSource, last_step: int) -> Iterable[PillarBatch]:
        config = self.config
        database = None
        if config.copy_paste.num_objects:
            database = object_database(source, config.spec, config.copy_paste, config.seed)
            self.console.print(f"copy-paste from {len(database)} objects")
        if config.balance_classes:
            source = balanced(source, config.spec.class_names, config.seed)
            self.console.print(f"{len(source)} samples in an epoch that shows all classes equally often")
        sampler = StepSampler(
            len(source),
            self.config.optimisation.batch_size,
            first_step=self.first_step,
            num_steps=last_step,
            seed=self.config.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        batches: Iterable[PillarBatch] = DataLoader(
            self._dataset(source, self.config.augment, database),
            batch_sampler=sampler,
            num_workers=self.config.run.num_workers,
            collate_fn=partial(collate, spec=self.config.spec),
        )
        return batches

    def _dataset(
        self, source: SampleSource, augment: AugmentConfig, database: ObjectDatabase | None = None
    ) -> PillarDataset:
        stride = self.detector.backbone.stride
        config = self.config
        return PillarDataset(source, config.spec, stride, augment=augment, seed=config.seed, database=database)

    @torch.no_grad()
    def _validate(self, step: int, source: SampleSource, scalars: SummaryWriter | None) -> None:
        """Mean loss over the validation samples, each process its share; nothing where there are none."""
        if len(source) == 0:
            return
        dataset = self._dataset(source, NO_AUGMENTATION)
        self.network.eval()
        mine = range(self.accelerator.process_index, len(dataset), self.accelerator.num_processes)
        total = torch.zeros(4, device=self.accelerator.device)
        for index in mine:
            batch = collate([dataset[ExampleKey(0, index)]], self.config.spec).to(self.accelerator.device)
            loss = self._loss(self.detector, batch)  # DDP would wait for the others' batches
            total += torch.stack([*loss, torch.ones_like(loss.total)])
        total = self.accelerator.reduce(total, reduction="sum")
        self._report(step, "validation", CenterLoss(*(total[:3] / total[3].clamp(min=1))), scalars)

    def _report(self, step: int, part: str, loss: CenterLoss, scalars: SummaryWriter | None, more: str = "") -> None:
        self.console.print(
            f"step {step}/{self.config.optimisation.num_steps}  {part} loss {loss.total:.4f} "
            f"(heatmap {loss.heatmap:.4f}, regression {loss.regression:.4f}){more}",
            soft_wrap=True,
            highlight=False,
        )
        if scalars is not None:
            for name, value in loss._asdict().items():
                scalars.add_scalar(f"{part}/{name}", float(value), step)

    def _log(
        self,
        step: int,
        loss: CenterLoss,
        gradient_norm: torch.Tensor,
        seconds_per_step: float,
        scalars: SummaryWriter | None,
    ) -> None:
        per_second = self.config.optimisation.batch_size * self.accelerator.num_processes / seconds_per_step
        left = timedelta(seconds=round(seconds_per_step * (self.config.optimisation.num_steps - step)))
        more = f"  {per_second:.1f} samples/s, {left} left"
        self._report(step, "training", CenterLoss(*(v.detach() for v in loss)), scalars, more)
        if scalars is not None:
            scalars.add_scalar("training/gradient_norm", float(gradient_norm), step)
            scalars.add_scalar("training/learning_rate", self.optimizer.param_groups[0]["lr"], step)
            scalars.add_scalar("training/samples_per_second", per_second, step)

    def _write_checkpoint(self, step: int) -> Path:
        run = self.config.run
        if self.accelerator.is_main_process:
            write_checkpoint(
                run.out, step, self.detector, self.optimizer, self.saved_config, self.accelerator.num_processes
            )
        self.accelerator.wait_for_everyone()
        folder = latest_checkpoint(run.out)
        assert folder is not None
        return folder


class _Clock:
    """Time of a step, smoothed over some twenty of them; pauses do not count."""

    def __init__(self) -> None:
        self.seconds_per_step = float("nan")
        self._last = time.perf_counter()

    def tick(self) -> None:
        now = time.perf_counter()
        taken, self._last = now - self._last, now
        is_first = self.seconds_per_step != self.seconds_per_step
        self.seconds_per_step = taken if is_first else 0.95 * self.seconds_per_step + 0.05 * taken

    def pause(self) -> None:
        self._last = time.perf_counter()


def new_accelerator() -> Accelerator:
    """This process's device, alone or as one of torchrun's."""
    # Making the drives keeps the other processes waiting for longer than the default half an hour.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    # Without CUDA accelerate joins the processes of torchrun only where told that the CPU is meant.
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])


@contextmanager
def _scalars(folder: Path, is_main: bool) -> Iterator[SummaryWriter | None]:
    if not is_main:
        yield None
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        yield writer
