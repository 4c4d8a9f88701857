"""What a run writes down: `log.jsonl`, TensorBoard events, and a progress bar on stderr."""

import json
import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def truncate_log(path: Path, last_step: int) -> None:
    """Drop records beyond `last_step` and a line torn by a kill, so no step is logged twice."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            step = json.loads(line)["step"]
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
        if step <= last_step:
            kept.append(line + "\n")
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class TrainingLog:
    """Writer of one run's records, for use as a context manager.

    Args:
        folder: receives `log.jsonl` and the TensorBoard event files.
        name: the stage, shown in the bar.
        start: the step that the run goes on from; later records of an earlier run are dropped.
        total: the last step.
        enabled: False in all processes but the first, which then write and show nothing.
    """

    def __init__(self, folder: Path, *, name: str, start: int, total: int, enabled: bool):
        self.path, self.name, self.enabled = folder / "log.jsonl", name, enabled
        self.console = Console(stderr=True)
        self.start, self.total = start, total

    def __enter__(self) -> "TrainingLog":
        if not self.enabled:
            return self
        from torch.utils.tensorboard import SummaryWriter

        truncate_log(self.path, self.start)
        self.file = self.path.open("a", encoding="utf-8")
        self.events = SummaryWriter(str(self.path.parent), purge_step=self.start + 1)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.progress.start()
        self.task = self.progress.add_task(
            self.name, total=self.total, completed=self.start, note=""
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self.progress.stop()
            self.events.close()
            self.file.close()

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self.enabled:
            self.progress.update(self.task, completed=step)

    def write(self, step: int, values: dict[str, float], group: str) -> None:
        """Append one record; `group` is `train` or `validation`."""
        if not self.enabled:
            return
        record = {"step": step, "group": group} | {k: float(v) for k, v in values.items()}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        for key, value in values.items():
            self.events.add_scalar(f"{group}/{key}", value, step)
        if group == "train":
            note = f"loss {values['loss']:.4f}  {values['clips_per_s']:.1f} clips/s"
            self.progress.update(self.task, note=note)
        else:
            shown = "  ".join(f"{k} {v:.4f}" for k, v in values.items())
            self.say(f"{self.name} step {step}/{self.total}: validation {shown}")

    def say(self, line: str) -> None:
        """Show one line on stderr."""
        if self.enabled:
            self.console.print(line, highlight=False, soft_wrap=True)
