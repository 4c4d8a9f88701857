"""One training loop for both stages, on `accelerate`.

Step s (counted from 1) is a function of the state after s - 1, the seed and s alone, so a run that
was killed and goes on from a checkpoint ends, on one CPU process, with the same bits. The learning
rate is a function of s and has no state. The global batch is cut into equal slices over gradient
accumulation and processes, so the clips of a step do not depend on their number. BatchNorm and the
adaptive GAN weight see the slices of all processes, one accumulation part at a time.
"""

import math
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.training.batches import BatchReader
from lamd.training.checkpoint import (
    Checkpoint,
    clean_temporary,
    newest_good,
    prune,
    write_checkpoint,
)
from lamd.training.final import is_complete, read_info, write_final
from lamd.training.log import TrainingLog
from lamd.training.optimisation import (
    learning_rate_factor,
    make_accelerator,
    make_ema,
    make_optimizer,
)
from lamd.training.stages import Batch, Draws, Stage


def train_stage(
    stage: Stage,
    folder: Path,
    *,
    target: Target,
    identity: str,
    device: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train `stage` in `folder`, going on from its last good checkpoint; return `folder`.

    The final model is the last EMA (the last weights without EMA), not the best checkpoint: the
    LR schedule ends there, and picking by a handful of clips would add their noise.

    Args:
        stage: model, data and losses.
        folder: receives checkpoints, `log.jsonl`, TensorBoard events, and at the end
            `model.safetensors` and `model.json`.
        target: saved with the model.
        identity: hash of all that the result depends on.
        device: `cpu`, `cuda` or None for the best there is.
        max_steps: stop after this step with a checkpoint and without a final model.

    Raises:
        LamdError: on a non-finite loss or gradient (the last good checkpoint stays), a folder of
            another config, or damaged checkpoints only.
    """
    if is_complete(folder):
        read_info(folder, stage=stage.name, identity=identity)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    last = min(stage.train.num_steps, max_steps or stage.train.num_steps)
    run = _Run(stage, folder, identity, device)
    warnings = run.resume()
    with (
        TrainingLog(
            folder,
            name=stage.name,
            start=run.step,
            total=stage.train.num_steps,
            enabled=run.accelerator.is_main_process,
        ) as log,
        BatchReader(
            stage.read, stage.train, stage.num_windows, run.slices, run.accelerator.device
        ) as reader,
    ):
        for line in warnings:
            log.say(line)
        if run.step:
            log.say(f"{stage.name}: going on from step {run.step}")
        run.loop(last, log, reader)
    if last == stage.train.num_steps:
        run.finish(target)
    return folder


def time_steps(
    stage: Stage, *, first: int = 1, most: int = 4, seconds: float = 30.0, device: str | None = None
) -> float:
    """Return the median seconds of a training step, the first one left out; nothing is written.

    Args:
        first: the step to begin with, which decides whether the adversary takes part.
        most: steps to time at most, one at least.
        seconds: begin no further step after this time.
    """
    torch.set_flush_denormal(True)
    run = _Run(stage, Path(), "", device)
    place, times, began = run.accelerator.device, [], time.monotonic()
    with BatchReader(stage.read, stage.train, stage.num_windows, run.slices, place) as reader:
        for step, batches in reader.steps(first, first + most):
            started = time.monotonic()
            run.one_step(step, batches)  # its finiteness checks wait for the device
            times.append(time.monotonic() - started)
            if len(times) > 1 and time.monotonic() - began > seconds:
                break
    return statistics.median(times[1:])


class _Run:
    """The mutable state of one training."""

    def __init__(self, stage: Stage, folder: Path, identity: str, device: str | None):
        self.stage, self.train, self.folder, self.identity = stage, stage.train, folder, identity
        self.accelerator = make_accelerator(self.train, device)
        place = self.accelerator.device
        stage.to(place)
        modules = [m.to(place).train() for m in (stage.model, stage.adversary) if m is not None]
        decay = self.train.ema_decay
        self.ema = make_ema(stage.model, decay) if decay is not None else None
        rates = [self.train.learning_rate]
        if stage.adversary is not None:
            rates.append(stage.gan.learning_rate)
        self.rates = rates
        optimizers = [
            make_optimizer(m, self.train, rate) for m, rate in zip(modules, rates, strict=True)
        ]
        prepared = self.accelerator.prepare(*modules, *optimizers)
        self.modules = list(prepared[: len(modules)])
        self.optimizers = list(prepared[len(modules) :])
        self.step, self.saved_step, self.seconds = 0, 0, 0.0
        self.best_step: int | None = None
        self.best_value = math.inf
        self.validation: dict[str, float] | None = None

    @property
    def slices(self) -> list[slice]:
        """The rows of the global batch that this process takes, one slice an accumulation part."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        size = self.train.batch_size // (processes * self.train.gradient_accumulation)
        firsts = [(m * processes + rank) * size for m in range(self.train.gradient_accumulation)]
        return [slice(first, first + size) for first in firsts]

    def resume(self) -> list[str]:
        """Load the newest good checkpoint, if any; return what is to be said about damaged ones."""
        with self.accelerator.main_process_first():
            if self.accelerator.is_main_process:
                clean_temporary(self.folder)
            found, said = newest_good(self.folder, config=self.stage.config, identity=self.identity)
        if found is None:
            return said
        self.stage.model.load_state_dict(found.part("model"))
        if self.ema is not None:
            self.ema.module.load_state_dict(found.part("ema"))
            self.ema.n_averaged.fill_(found.state["ema_count"])
        if self.stage.adversary is not None:
            self.stage.adversary.load_state_dict(found.part("adversary"))
        for optimizer, state in zip(self.optimizers, found.state["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        self.step = self.saved_step = found.step
        self.seconds = found.state["seconds"]
        self.best_step, self.best_value = found.state["best_step"], found.state["best_value"]
        self.validation = found.validation
        return said

    def loop(self, last: int, log: TrainingLog, reader: BatchReader) -> None:
        """Train from the current step to `last`."""
        train, started, spent, since = self.train, time.monotonic(), 0.0, 0
        before = self.seconds
        for step, batches in reader.steps(self.step + 1, last):
            began = time.monotonic()
            values = self.one_step(step, batches)
            self.step = step
            spent, since = spent + time.monotonic() - began, since + 1
            self.seconds = before + time.monotonic() - started
            log.advance(step)
            if step % train.log_every == 0 or step == last:
                speed = {"clips_per_s": since * train.batch_size / spent, "seconds": self.seconds}
                log.write(step, self._averaged(values) | speed, "train")
                spent, since = 0.0, 0
            improved = False
            if step % train.validate_every == 0 or step == train.num_steps:
                improved = self.validate(log)
            if improved or step % train.checkpoint_every == 0 or step == last:
                self.seconds = before + time.monotonic() - started
                self.save()

    def one_step(self, step: int, batches: list[Batch]) -> dict[str, Tensor]:
        """Update all weights once and return this process's named values."""
        rate = learning_rate_factor(self.train, step)
        for optimizer, peak in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        active = self.stage.adversary_active(step)
        values = _Means(len(batches))
        for part, batch in zip(self.slices, batches, strict=True):
            with self.accelerator.accumulate(*self.modules):
                count = part.stop - part.start
                draws = Draws(
                    self.train.seed, self.stage.name, step, self.train.batch_size, part.start, count
                )
                terms = self.stage.terms(self.modules[0], batch, draws)
                loss = sum(terms.losses.values())
                self.accelerator.backward(loss)
                values.add({"loss": loss, **terms.losses, **terms.notes})
                self._update(0, step, "loss", "grad_norm", values)
                if active:
                    loss = self.stage.adversary_loss(self.modules[1], terms.made)
                    self.accelerator.backward(loss)
                    values.add({"adversary": loss})
                    self._update(1, step, "adversary", "adversary_grad_norm", values)
        if self.ema is not None:
            self.ema.update_parameters(self.stage.model)
        return values.values | {"lr": torch.tensor(self.train.learning_rate * rate)}

    def _update(self, which: int, step: int, loss: str, norm: str, values: "_Means") -> None:
        if not self.accelerator.sync_gradients:
            return
        optimizer, module = self.optimizers[which], self.modules[which]
        self.accelerator.unscale_gradients(optimizer)
        clip = self.train.gradient_clip or math.inf
        values.values[norm] = nn.utils.clip_grad_norm_(module.parameters(), clip).detach()
        checked = [loss, norm] if self.accelerator.scaler is None else [loss]
        numbers = self._averaged({name: values.values[name] for name in checked})
        for name, number in numbers.items():
            if not math.isfinite(number):
                self._stop(step, name)
        if self.accelerator.scaler is not None and self.accelerator.scaler.get_scale() < 1:
            self._stop(step, norm)  # fp16 skips single overflows, but not for ever
        optimizer.step()
        optimizer.zero_grad()

    def _stop(self, step: int, name: str) -> None:
        good = f"step {self.saved_step}" if self.saved_step else "none yet"
        raise LamdError(
            f"{self.folder / 'log.jsonl'}: {name} of stage {self.stage.name} is not finite at step "
            f"{step} (last good checkpoint: {good}); lower {self.stage.options}.learning_rate"
        )

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, float]:
        numbers = torch.stack(
            [v.detach().float().to(self.accelerator.device) for v in values.values()]
        )
        numbers = self.accelerator.reduce(numbers, reduction="mean")
        return dict(zip(values, numbers.tolist(), strict=True))

    def _result(self) -> nn.Module:
        return self.stage.model if self.ema is None else self.ema.module

    def validate(self, log: TrainingLog) -> bool:
        """Measure the held-out clips on the first process; tell whether they were never better."""
        if self.accelerator.is_main_process:
            model = self._result().eval()
            self.validation = self.stage.validate(model)
            log.write(self.step, self.validation, "validation")
            self.stage.model.train()
        flag = torch.zeros(1, device=self.accelerator.device)
        if self.validation is not None and self.validation[self.stage.best_of] < self.best_value:
            self.best_value, self.best_step = self.validation[self.stage.best_of], self.step
            flag += 1
        return bool(self.accelerator.reduce(flag).item())

    def save(self) -> None:
        """Write a checkpoint and delete those that are no longer kept."""
        if self.accelerator.is_main_process:
            weights = _prefixed("model", self.stage.model)
            if self.ema is not None:
                weights |= _prefixed("ema", self.ema.module)
            if self.stage.adversary is not None:
                weights |= _prefixed("adversary", self.stage.adversary)
            scaler = self.accelerator.scaler
            state = {
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "scaler": scaler.state_dict() if scaler is not None else None,
                "ema_count": int(self.ema.n_averaged) if self.ema is not None else 0,
                "best_step": self.best_step,
                "best_value": self.best_value,
                "seconds": self.seconds,
            }
            checkpoint = Checkpoint(self.step, weights, state, self.validation)
            write_checkpoint(
                self.folder, checkpoint, config=self.stage.config, identity=self.identity
            )
            prune(self.folder, keep_last=self.train.keep_last, best_step=self.best_step)
        self.saved_step = self.step
        self.accelerator.wait_for_everyone()

    def finish(self, target: Target) -> None:
        """Write the final model."""
        if self.accelerator.is_main_process:
            started, model = time.monotonic(), self._result().eval()
            self.stage.finish(model)
            info = {
                "stage": self.stage.name,
                "target": target.model_dump(mode="json"),
                "identity": self.identity,
                "step": self.step,
                "validation": self.validation,
                "num_parameters": sum(p.numel() for p in model.parameters()),
                "seconds": self.seconds + time.monotonic() - started,
                **self.stage.info(),
            }
            write_final(self.folder, model.state_dict(), info)
        self.accelerator.wait_for_everyone()


class _Means:
    def __init__(self, parts: int):
        self.parts, self.values = parts, {}

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            share = value.detach() / self.parts
            self.values[name] = self.values[name] + share if name in self.values else share


def _prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
