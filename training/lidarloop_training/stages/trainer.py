"""The training loop: from samples to a checkpoint, resumable at any step, whatever the task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.intensity import intensity_deciles
from lidarloop_training.stages.checkpoint import SavedRun, latest_checkpoint, resume, write_checkpoint
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.finite import all_finite, cause_of_not_finite
from lidarloop_training.stages.loading import load_batch, load_batches
from lidarloop_training.stages.sampler import StepSampler, check_batch
from lidarloop_training.stages.schedule import one_cycle
from lidarloop_training.stages.start import start_from
from lidarloop_training.stages.start_model import SUFFIX, measure_norms
from lidarloop_training.tasks.task import Batch, ExampleKey, Examples, Forward, LossTerms, Part, Task, TaskConfig

MakeTask = Callable[[Any], Task[Any, Any]]
"""Makes a task from its settings."""


def own_task(config: TaskConfig) -> Task[Any, Any]:
    """The task that settings alone make."""
    return config.task()


def fit(
    config: TrainConfig[Any],
    training: SampleSource,
    validation: SampleSource,
    *,
    accelerator: Accelerator | None = None,
    console: Console | None = None,
    stop_after: int | None = None,
    make_task: MakeTask = own_task,
) -> Path:
    """Trains to ``config.optimisation.num_steps``, from the newest checkpoint in ``config.run.out`` on if there is one.

    Args:
        config: the run.
        training: samples to learn from.
        validation: samples of the same kind, for the loss alone; may be empty.
        accelerator: device and processes; made where None.
        console: where progress is printed; nowhere where None.
        stop_after: stop at this step, as an interruption would; the schedule stays that of the complete run.
        make_task: makes the task where it needs more than its settings, e.g. a teacher.

    Returns:
        The last checkpoint's folder.

    Raises:
        ConfigError: the settings contradict one another, the run's checkpoint, or the one to start from, or loss or
            gradient stopped being finite.
        DatasetError: the samples lack what the task learns from, are too few for one batch, or a sample gives a loss or
            gradient that is not finite. Known before the first step but for the last.
    """
    accelerator = accelerator or new_accelerator()
    summary = check_run(config, training, validation, accelerator.num_processes, make_task)
    limits = replace(config.task.spec, training_intensity=()).column_limits
    spec = replace(config.task.spec, training_intensity=intensity_deciles(training, limits))
    config = replace(config, task=replace(config.task, spec=spec))
    console = console or Console(quiet=True)
    if summary:
        console.print(summary, soft_wrap=True, markup=False, highlight=False)
    return _Run(config, accelerator, console, make_task(config.task)).fit(training, validation, stop_after)


def check_run(
    config: TrainConfig[Any],
    training: SampleSource,
    validation: SampleSource,
    num_processes: int = 1,
    make_task: MakeTask = own_task,
) -> str:
    """Whether a run has what it needs, known without reading clouds but the first.

    Args:
        config: the run.
        training: samples to learn from.
        validation: samples for the loss alone; may be empty.
        num_processes: number of processes that train.
        make_task: as for ``fit``.

    Returns:
        One line on what there is to learn; may be empty.

    Raises:
        DatasetError: the samples lack what the task learns from, or are too few for one batch.
    """
    task = make_task(config.task)
    summary: str = task.check(training, training=True)
    task.check(validation, training=False)
    check_batch(len(training), config.optimisation.batch_size, num_processes)
    return summary


def _put_channels_last(network: nn.Module) -> None:
    """Lays out the weights of maps as convolutions read them fastest; those of sparse convolutions have five axes."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


_NUM_MEASURED = 8
"""Batches on which the norms of a model file are measured."""


class _Run:
    """The state of one training run."""

    def __init__(
        self, config: TrainConfig[Any], accelerator: Accelerator, console: Console, task: Task[Any, Any]
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.console = console
        if config.run.num_threads:
            torch.set_num_threads(config.run.num_threads)
        torch.manual_seed(config.seed)
        self.task = task
        self.network = self.task.build()
        _put_channels_last(self.network)
        self.wrapped = accelerator.prepare_model(self.network)
        init_sha256 = None
        if config.init_from is not None:
            init_sha256 = start_from(config.init_from, config.init_parts, self.network, config.task)
        self.saved = SavedRun.of(config, accelerator.num_processes, init_sha256)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            betas=(0.9, config.optimisation.beta2),
            weight_decay=config.optimisation.weight_decay,
        )
        newest = latest_checkpoint(config.run.out)
        self.first_step = 0
        if newest is not None:
            self.first_step = resume(newest, self.network, self.optimizer, self.saved)
            console.print(f"resuming from {newest}", soft_wrap=True, markup=False)

    def fit(self, training: SampleSource, validation: SampleSource, stop_after: int | None) -> Path:
        run, num_steps = self.config.run, self.config.optimisation.num_steps
        last_step = min(num_steps, stop_after or num_steps)
        folder = latest_checkpoint(run.out)
        if folder is not None and self.first_step >= last_step:
            return folder
        examples = self.task.dataset(training, training=True, seed=self.config.seed)
        if examples.summary:
            self.console.print(examples.summary, soft_wrap=True)
        sampler = self._sampler(examples.parts, last_step)
        loader = load_batches(self.task, examples, sampler, run.num_workers)
        if self.first_step == 0 and self.config.init_from is not None and self.config.init_from.suffix == SUFFIX:
            self._measure_norms(examples, sampler)
        with _scalars(run.out, self.accelerator.is_main_process) as scalars:
            clock = _Clock()
            for step, batch in enumerate(loader, self.first_step):
                loss, gradient_norm = self._gradient(step, batch.to(self.accelerator.device))
                if not self._is_finite(loss, gradient_norm):
                    keys = sampler.batch(step)
                    raise cause_of_not_finite(
                        self.task, examples, keys, self.network, partial(self._loss, self.network), step=step + 1
                    )
                self.optimizer.step()
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

    def _gradient(self, step: int, batch: Batch) -> tuple[LossTerms, Tensor]:
        """Loss of a batch, and the gradient's norm before it is clipped."""
        now = one_cycle(step, self.config.optimisation.num_steps, self.config.optimisation.schedule)
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = now.learning_rate, (now.beta1, self.config.optimisation.beta2)
        self.wrapped.train()
        loss = self._loss(self.wrapped, batch)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss.total)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimisation.max_gradient_norm)
        return loss, norm

    def _loss(self, network: Forward, batch: Batch) -> LossTerms:
        loss: LossTerms = self.task.loss(self._in_precision(network), batch)
        return loss

    def _is_finite(self, loss: LossTerms, gradient_norm: Tensor) -> bool:
        """Whether loss and gradient are finite in every process: all of them stop together."""
        finite = all_finite(loss.total, gradient_norm)
        return bool(self.accelerator.gather(finite.reshape(1)).all())

    def _in_precision(self, network: Forward) -> Forward:
        """The forward pass in the run's precision; the loss that is computed of its result stays in float32."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            # Not accelerate's mixed precision, which one process cannot set differently for two runs.
            bfloat16 = self.config.optimisation.precision == "bfloat16"
            with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=bfloat16):
                return network(*args, **kwargs)

        return forward

    def _measure_norms(self, examples: Examples[Any], sampler: StepSampler) -> None:
        """Statistics for the batch norms of a model file, which has none, on the first batches."""
        batches = [
            load_batch(self.task, examples, sampler.batch(step)).to(self.accelerator.device)
            for step in range(min(_NUM_MEASURED, sampler.steps_per_epoch))
        ]
        measure_norms(self.network, partial(self.task.loss, self.network), batches)

    def _sampler(self, parts: Sequence[Part], last_step: int) -> StepSampler:
        return StepSampler(
            parts,
            self.config.optimisation.batch_size,
            first_step=self.first_step,
            num_steps=last_step,
            seed=self.config.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    @torch.no_grad()
    def _validate(self, step: int, source: SampleSource, scalars: SummaryWriter | None) -> None:
        """Mean loss over the validation samples, each process its share; nothing where there are none."""
        if len(source) == 0:
            return
        examples = self.task.dataset(source, training=False, seed=self.config.seed)
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.wrapped.eval()
        # A process without a sample of its own takes one with weight 0, to know the names of the terms.
        mine = [(index, 1.0) for index in range(rank, len(examples), world_size)] or [(0, 0.0)]
        sums: list[Tensor] = []
        names: list[str] = []
        for index, weight in mine:
            batch = self.task.collate([examples[ExampleKey(0, index)]]).to(self.accelerator.device)
            loss = self.task.loss(self._in_precision(self.network), batch)  # DDP would wait for the others' batches
            names = list(loss.parts)
            sums.append(weight * torch.stack([loss.total, *loss.parts.values(), torch.ones_like(loss.total)]))
        *terms, count = self.accelerator.reduce(torch.stack(sums).sum(dim=0), reduction="sum")
        total, *parts = (term / count for term in terms)
        self._report(step, "validation", LossTerms(total, dict(zip(names, parts, strict=True))), scalars)

    def _report(self, step: int, data: str, loss: LossTerms, scalars: SummaryWriter | None, more: str = "") -> None:
        parts = ", ".join(f"{name} {value:.4f}" for name, value in loss.parts.items())
        self.console.print(
            f"step {step}/{self.config.optimisation.num_steps}  {data} loss {loss.total:.4f} ({parts}){more}",
            soft_wrap=True,
            highlight=False,
        )
        if scalars is not None:
            for name, value in {"total": loss.total, **loss.parts}.items():
                scalars.add_scalar(f"{data}/{name}", float(value), step)

    def _log(
        self,
        step: int,
        loss: LossTerms,
        gradient_norm: Tensor,
        seconds_per_step: float,
        scalars: SummaryWriter | None,
    ) -> None:
        per_second = self.config.optimisation.batch_size * self.accelerator.num_processes / seconds_per_step
        left = timedelta(seconds=round(seconds_per_step * (self.config.optimisation.num_steps - step)))
        detached = LossTerms(loss.total.detach(), {name: value.detach() for name, value in loss.parts.items()})
        self._report(step, "training", detached, scalars, f"  {per_second:.1f} samples/s, {left} left")
        if scalars is not None:
            scalars.add_scalar("training/gradient_norm", float(gradient_norm), step)
            scalars.add_scalar("training/learning_rate", self.optimizer.param_groups[0]["lr"], step)
            scalars.add_scalar("training/samples_per_second", per_second, step)

    def _write_checkpoint(self, step: int) -> Path:
        out = self.config.run.out
        if self.accelerator.is_main_process:
            write_checkpoint(out, step, self.network, self.optimizer, self.saved)
        self.accelerator.wait_for_everyone()
        folder = latest_checkpoint(out)
        assert folder is not None
        return folder


class _Clock:
    """Duration of a step in seconds, smoothed over some twenty of them; pauses do not count."""

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
    # Without CUDA accelerate joins torchrun's processes only if the CPU is asked for.
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])


@contextmanager
def _scalars(folder: Path, is_main: bool) -> Iterator[SummaryWriter | None]:
    if not is_main:
        yield None
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        yield writer
