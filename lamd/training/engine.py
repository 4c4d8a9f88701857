"""One training loop for every stage, on `accelerate`.

Step s (counted from 1) is a function of the state after s - 1, the seed and s alone, so a killed
run that continues from a checkpoint ends, on one CPU process, with the same bits. The learning rate
is a function of s and has no state. The clips of a step, their noise, their weight in the loss and
the micro-batches that BatchNorm sees do not depend on the number of processes. The adaptive GAN
weight is that of an accumulation part, over all processes.
"""

import math
import statistics
import time
from datetime import timedelta
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lamd import machine
from lamd.base import origin
from lamd.base.errors import LamdError
from lamd.base.processes import WAIT_LIMIT
from lamd.config import TrainConfig
from lamd.nn import checkpoint_blocks
from lamd.training import averages
from lamd.training import checkpoint as ckpt
from lamd.training.log import TrainingLog
from lamd.training.muon import MuonAdamW, matrices
from lamd.training.networks import INFO, read_info, write_final
from lamd.training.precision import bf16_problem
from lamd.training.stages import Batch, Stage, StepRNG, batch_rows, read_ahead, shared_rows

FINAL_LR = 0.01  # the cosine ends at this part of the peak
SAVED_SECONDS = 30 * 60.0  # at most, between two checkpoints: what a preemption may cost
_TIMED, _TIMED_SECONDS = 4, 30.0  # steps at most; no further step begins after these seconds


def train_stage(
    stage: Stage, folder: Path, *, run_id: str, device: str | None, max_steps: int | None
) -> Path:
    """Train `stage` in `folder`; arguments and errors as for `lamd.training.train`.

    The final model is the last EMA (the last weights without EMA), not the best checkpoint: the
    LR schedule ends there, and picking by a handful of clips would add their noise. With
    `early_stopping` it is the best one.
    """
    if (folder / INFO).is_file():
        read_info(folder, stage=stage.name, run_id=run_id)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    last = min(stage.train.num_steps, max_steps or stage.train.num_steps)
    run = _Run(stage, folder, run_id, device)
    warnings = run.resume()
    main, total = run.accelerator.is_main_process, stage.train.num_steps
    with TrainingLog(folder, name=stage.name, start=run.step, total=total, enabled=main) as log:
        for line in [*warnings, *([run.note] if run.note else [])]:
            log.say(line)
        if run.step:
            log.say(f"{stage.name}: continuing from step {run.step}")
        run.loop(last, log)
    if run.step == stage.train.num_steps or run.is_exhausted():
        run.finish()
    return folder


class StepTimer:
    """Training steps of a stage from `first` on, run to be timed; nothing is written.

    `first` decides whether the adversary takes part. `precision` is the one that is used.
    """

    def __init__(self, stage: Stage, *, first: int = 1, device: str | None = None):
        torch.set_flush_denormal(True)
        self._run, self._step = _Run(stage, Path(), "", device), first
        self.precision = stage.precision

    def read(self) -> list[Batch]:
        """Read the clips of the next step."""
        return self._run.read(self._step)

    def step(self) -> float:
        """Run the next step and return its seconds, those of reading its clips aside."""
        device = self._run.accelerator.device
        batches = [tuple(tensor.to(device) for tensor in batch) for batch in self.read()]
        started = time.monotonic()
        self._run.train_step(self._step, batches)  # its finiteness checks wait for the device
        self._step += 1
        return time.monotonic() - started

    def median(self) -> float:
        """Return the median of up to `_TIMED` steps, after one that warms up."""
        times, began = list[float](), time.monotonic()
        while len(times) <= _TIMED:
            times.append(self.step())
            if len(times) > 1 and time.monotonic() - began > _TIMED_SECONDS:
                break
        return statistics.median(times[1:])


class _Run:
    def __init__(self, stage: Stage, folder: Path, run_id: str, device_name: str | None):
        self.stage, self.train, self.folder, self.run_id = stage, stage.train, folder, run_id
        self.note: str | None = None  # why the precision is not the config's
        self.accelerator = self._accelerator(device_name)
        self.processes, device = self.accelerator.num_processes, self.accelerator.device
        self.slices = shared_rows(self.train, self.processes, self.accelerator.process_index)
        self.accelerator.gradient_accumulation_steps = len(self.slices)
        stage.to(device)
        modules = [m.to(device).train() for m in (stage.model, stage.adversary) if m is not None]
        self.parts = {"model": stage.model}
        self.ema = None
        if self.train.ema_decay is not None:
            self.ema = averages.make_ema(stage.model, self.train.ema_decay)
            self.parts["ema"] = self.ema.module
        self.powers, self.snapshots = dict[float, AveragedModel](), list[int]()
        if self.train.ema_snapshots is not None:
            self.snapshots = averages.snapshot_steps(self.train.num_steps, self.train.ema_snapshots)
            for length in averages.LENGTHS:
                self.powers[length] = averages.make_power_average(stage.model, length)
                self.parts[f"power_{length}"] = self.powers[length].module
        if stage.checkpoints_blocks:
            checkpoint_blocks(stage.model)
        if stage.adversary is not None:
            self.parts["adversary"] = stage.adversary
        rates = [self.train.learning_rate, stage.adversary_rate][: len(modules)]
        by_muon = matrices(stage.model) if self.train.optimizer == "muon" else set()
        dtype = torch.float32 if stage.precision == "fp32" else torch.bfloat16
        optimizers = [
            MuonAdamW(
                module.parameters(), by_muon, lr=rate, betas=self.train.adam_betas,
                weight_decay=self.train.weight_decay, dtype=dtype,
            )
            for module, rate in zip(modules, rates, strict=True)
        ]  # fmt: skip
        prepared = self.accelerator.prepare(*modules, *optimizers)
        self.modules = list(prepared[: len(modules)])
        self.optimizers = list(prepared[len(modules) :])
        self.step, self.saved_step, self.seconds = 0, 0, 0.0
        self.saved_at = time.monotonic()
        self.best_step: int | None = None
        self.best_value = math.inf
        self.validation: dict[str, float] | None = None

    def _accelerator(self, device_name: str | None) -> Accelerator:
        """Return the accelerator of the config's precision, or of fp32 on a device without bf16."""
        precision = self.train.precision
        accelerator = make_accelerator(device_name, precision)
        if precision == "bf16":
            device = accelerator.device.type
            unit = "CPU" if device == "cpu" else "GPU"
            slow = f"bf16 is not faster than fp32 on the {unit} of every process"
            last = ckpt.last_precision(self.folder) if self.run_id else None
            fast = _all(accelerator, machine.bf16_is_faster(device))
            problem = None if fast or last == "bf16" else slow
            if last == "fp32":
                problem = f"its checkpoints are of {last}"
            elif last == "bf16" and not fast:
                self.note = (
                    f"{self.stage.name}: precision bf16, as in its checkpoints, though {slow}"
                )
            if device == "cpu":
                problem = problem or bf16_problem(self.stage)
            if not _all(accelerator, problem is None):
                reason = problem or "another process has wrong gradients in bf16"
                self.note = f"{self.stage.name}: precision fp32: {reason}"
                precision = "fp32"
                accelerator = make_accelerator(device_name, precision)
        self.stage.precision = precision
        origin.note_path(dtype=precision)
        return accelerator

    def rows(self, step: int) -> np.ndarray:
        """Return the window numbers of the global batch."""
        train = self.train
        return batch_rows(train.seed, step, train.batch_size, len(self.stage.windows))

    def read(self, step: int) -> list[Batch]:
        rows = self.rows(step)
        return [self.stage.read(rows[part]) for part in self.slices]

    def resume(self) -> list[str]:
        """Load the newest good checkpoint, if any; return a line for each damaged one."""
        with self.accelerator.main_process_first():
            if self.accelerator.is_main_process:
                ckpt.clean_temporary(self.folder)
            checkpoint, lines = ckpt.newest_good(
                self.folder, config=self.stage.config, run_id=self.run_id, expected=self.expected()
            )
        if checkpoint is None:
            return lines
        for name, module in self.parts.items():
            module.load_state_dict(checkpoint.part(name))
        saved = checkpoint.state
        if self.ema is not None:
            self.ema.n_averaged.fill_(saved["ema_count"])
        for average in self.powers.values():
            average.n_averaged.fill_(checkpoint.step)
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state["state"]})
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.step = self.saved_step = checkpoint.step
        self.validation, self.seconds = checkpoint.validation, saved["seconds"]
        self.best_step, self.best_value = saved["best_step"], saved["best_value"]
        return lines

    def expected(self) -> ckpt.Expected:
        """Return what a checkpoint of this run has."""
        scaler = self.accelerator.scaler
        return ckpt.Expected(
            self.weights(),
            [optimizer.optimizer.state_like() for optimizer in self.optimizers],
            scaler.state_dict() if scaler is not None else None,
        )

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": tensor
            for part, module in self.parts.items()
            for name, tensor in module.state_dict().items()
        }

    def loop(self, last: int, log: TrainingLog) -> None:
        train, started, spent, since = self.train, time.monotonic(), 0.0, 0
        before = self.seconds
        if self.is_exhausted():
            return
        for step, batches in read_ahead(self.read, self.step + 1, last, self.accelerator.device):
            began = time.monotonic()
            values = self.train_step(step, batches)
            self.step = step
            spent, since = spent + time.monotonic() - began, since + 1
            self.seconds = before + time.monotonic() - started
            log.advance(step)
            is_late = False
            if step % train.log_every == 0 or step == last:
                speed = {"clips_per_s": since * train.batch_size / spent, "seconds": self.seconds}
                waited = torch.tensor(time.monotonic() - self.saved_at)
                means = self._averaged(values | {"waited": waited})  # equal in all processes
                is_late = means.pop("waited") > SAVED_SECONDS
                log.write(step, means | speed, "train")
                spent, since = 0.0, 0
            if step in self.snapshots and self.accelerator.is_main_process:
                averages.write_snapshot(self.folder, step, self.powers)
            due = step % train.validate_every == 0 or step == train.num_steps
            is_best = due and self.validate(log)
            is_over = due and self.is_exhausted()
            if is_best or is_over or is_late or step % train.checkpoint_every == 0 or step == last:
                self.seconds = before + time.monotonic() - started
                self.save()
            if is_over:
                log.say(f"{self.stage.name}: stopped at step {step}, step {self.best_step} is best")
                return

    def train_step(self, step: int, batches: list[Batch]) -> dict[str, Tensor]:
        """Update all weights once and return this process's named values."""
        rate = self.train.learning_rate * learning_rate_factor(self.train, step)
        for group in self.optimizers[0].param_groups:  # the adversary's rate is constant
            group["lr"] = rate
        active = self.stage.adversary_active(step)
        values: dict[str, Tensor] = {}
        drawn: dict[str, Tensor] = {}
        step_rows = self.rows(step)
        total, means = self.stage.weight(step_rows), self.processes * len(batches)

        def add(terms: dict[str, Tensor], weight: float) -> None:
            for name, value in terms.items():
                share = value.detach() * weight / len(batches)
                values[name] = values[name] + share if name in values else share

        for part, batch in zip(self.slices, batches, strict=True):
            # All losses are means over rows, and their gradients are averaged over `means` slices.
            weight = self.stage.weight(step_rows[part]) * means / total
            with self.accelerator.accumulate(*self.modules):
                rows = (self.train.batch_size, part.start, part.stop - part.start)
                rng = StepRNG(self.train.seed, self.stage.name, step, *rows, drawn)
                terms = self.stage.terms(self.modules[0], batch, rng)
                loss = reduce(torch.add, terms.losses.values())
                self.accelerator.backward(loss * weight)
                add({"loss": loss, **terms.losses, **terms.notes}, weight)
                self._update(0, step, "loss", "grad_norm", values)
                if active:
                    terms = self.stage.adversary_terms(self.modules[1], terms.for_discriminator)
                    self.accelerator.backward(terms.losses["adversary"] * weight)
                    add(terms.losses | terms.notes, weight)
                    self._update(1, step, "adversary", "adversary_grad_norm", values)
        if self.ema is not None:
            self.ema.update_parameters(self.stage.model)
        for average in self.powers.values():
            average.update_parameters(self.stage.model)
        return values | {"lr": torch.tensor(rate)}

    def _update(
        self, network: int, step: int, loss: str, norm: str, values: dict[str, Tensor]
    ) -> None:
        if not self.accelerator.sync_gradients:
            return
        optimizer, module = self.optimizers[network], self.modules[network]
        self.accelerator.unscale_gradients(optimizer)
        clip, scaler = self.train.gradient_clip or math.inf, self.accelerator.scaler
        values[norm] = nn.utils.clip_grad_norm_(module.parameters(), clip).detach()
        checked = {loss: values[loss]} | ({norm: values[norm]} if scaler is None else {})
        bad = [name for name, value in self._averaged(checked).items() if not math.isfinite(value)]
        if scaler is not None and scaler.get_scale() < 1:
            bad.append(norm)  # fp16 skips single overflows, but not for ever
        if bad:
            good = f"step {self.saved_step}" if self.saved_step else "none yet"
            raise LamdError(
                f"{self.folder / 'log.jsonl'}: {bad[0]} of stage {self.stage.name} is not finite "
                f"at step {step} (last good checkpoint: {good}); "
                f"lower {self.stage.options}.learning_rate"
            )
        optimizer.step()
        optimizer.zero_grad()

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, float]:
        device = self.accelerator.device
        numbers = torch.stack([v.detach().float().to(device) for v in values.values()])
        numbers = self.accelerator.reduce(numbers, reduction="mean")
        return dict(zip(values, numbers.tolist(), strict=True))

    def _result(self) -> nn.Module:
        return self.stage.model if self.ema is None else self.ema.module

    def validate(self, log: TrainingLog) -> bool:
        """Measure the held-out clips on the first process; return whether it is the best yet."""
        if self.accelerator.is_main_process:
            model = self._result().eval()
            self.validation = self.stage.validate(model)
            log.write(self.step, self.validation, "validation")
            self.stage.model.train()
        value = (self.validation or {}).get(self.stage.best_metric, math.inf)
        flag = torch.tensor([float(value < self.best_value)], device=self.accelerator.device)
        if not self.accelerator.reduce(flag).item():
            return False
        self.best_value, self.best_step = min(value, self.best_value), self.step
        return True

    def is_exhausted(self) -> bool:
        """Return whether `early_stopping.patience` validations have found no better model."""
        stopping, every = self.train.early_stopping, self.train.validate_every
        since = self.step // every - (self.best_step or 0) // every
        return stopping is not None and since >= stopping.patience

    def save(self) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "scaler": scaler.state_dict() if scaler is not None else None,
                "ema_count": int(self.ema.n_averaged) if self.ema is not None else 0,
                "best_step": self.best_step,
                "best_value": self.best_value,
                "seconds": self.seconds,
            }
            checkpoint = ckpt.Checkpoint(
                self.step, self.weights(), state, self.validation, self.stage.precision
            )
            ckpt.write_checkpoint(
                self.folder, checkpoint, config=self.stage.config, run_id=self.run_id
            )
            ckpt.prune(self.folder, keep_last=self.train.keep_last, best_step=self.best_step)
        self.saved_step, self.saved_at = self.step, time.monotonic()
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        if self.accelerator.is_main_process:
            started, model, step = time.monotonic(), self._result().eval(), self.step
            if self.train.early_stopping is not None and self.best_step is not None:
                try:
                    best = ckpt.read_checkpoint(
                        ckpt.checkpoint_path(self.folder, self.best_step),
                        config=self.stage.config, run_id=self.run_id, expected=self.expected(),
                    )  # fmt: skip
                except ckpt.DamagedFile as error:
                    reason = str(error).rpartition(";")[0]
                    raise LamdError(
                        f"{reason}; it was the best, delete {self.folder / 'checkpoints'} to train "
                        "again"
                    ) from None
                model.load_state_dict(best.part("model" if self.ema is None else "ema"))
                step, self.validation = best.step, best.validation
            extra = self.stage.finish(model)
            info = {
                "stage": self.stage.name,
                "target": self.stage.target.model_dump(mode="json"),
                "identity": self.run_id,
                "step": step,
                "validation": self.validation,
                "num_parameters": sum(p.numel() for p in model.parameters()),
                "snapshots": averages.snapshot_hashes(self.folder, self.snapshots),
                "seconds": self.seconds + time.monotonic() - started,
                **extra,
            }
            write_final(self.folder, model.state_dict(), info)
        self.accelerator.wait_for_everyone()


def learning_rate_factor(train: TrainConfig, step: int) -> float:
    """Return the factor on the peak rate at `step` (from 1): linear warm-up, then the schedule."""
    if step <= train.warmup_steps:
        return step / (train.warmup_steps + 1)
    if train.lr_schedule == "constant":
        return 1.0
    part = (step - train.warmup_steps) / max(1, train.num_steps - train.warmup_steps)
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * part))


def _all(accelerator: Accelerator, flag: bool) -> bool:
    """Return whether the flag is true in every process."""
    flags = torch.tensor([float(flag)], device=accelerator.device)
    return accelerator.reduce(flags, reduction="mean").item() == 1


def make_accelerator(device: str | None, precision: str) -> Accelerator:
    """Return an accelerator of a stage's precision; LamdError where that is not available."""
    name, _, index = (device or "").partition(":")
    if name not in ("", "cpu", "cuda"):
        raise LamdError(f"device {device!r}: not known; use cpu, cuda or cuda:N")
    if name == "cuda" and not torch.cuda.is_available():
        raise LamdError(f"device {device!r}: no CUDA device here; use cpu")
    if name == "cuda" and index:
        torch.cuda.set_device(int(index))  # accelerate trains on the current one
    on_cpu = name == "cpu" or not torch.cuda.is_available()
    if precision == "fp16" and on_cpu:
        raise LamdError("precision: fp16 needs a GPU; set precision: bf16 or fp32")
    # accelerate keeps its settings in singletons and refuses a second precision in one process.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    GradientState._reset_state()
    return Accelerator(
        cpu=on_cpu,
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=WAIT_LIMIT))],
    )
