"""The records of a run: `log.jsonl`, TensorBoard events, and a progress bar on stderr."""

import json
from contextlib import suppress
from pathlib import Path

from pydantic_core import from_json
from rich.text import Text

from lamd.base.files import write_atomically
from lamd.base.progress import Progress
from lamd.base.terminal import printable


def truncate_log(path: Path, last_step: int) -> None:
    """Drop records beyond `last_step` and a line torn by a kill, so no step is logged twice."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            match from_json(line):
                case {"step": int(step)} if step <= last_step:
                    kept.append(line + "\n")
    write_atomically(path, "".join(kept))


class TrainingLog:
    """Writer of one run's records, for use as a context manager.

    The run continues from step `start`; later records of an earlier run are dropped. A process that
    is not `enabled`, any but the first, writes and shows nothing.
    """

    def __init__(self, folder: Path, *, name: str, start: int, total: int, enabled: bool):
        self.folder, self.name, self.enabled = folder, name, enabled
        self.start, self.total = start, total
        self.progress = Progress(name if enabled else None, total, start=start, unit="steps")
        self.note = ""

    def __enter__(self) -> "TrainingLog":
        if self.enabled:
            from torch.utils.tensorboard import SummaryWriter

            path = self.folder / "log.jsonl"
            truncate_log(path, self.start)
            self.file = path.open("a", encoding="utf-8")
            self.events = SummaryWriter(str(self.folder), purge_step=self.start + 1)
        self.progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.__exit__()
        if self.enabled:
            self.events.close()
            self.file.close()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self.progress.advance(step, self.note)

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
            self.note = f"loss {values['loss']:.4f}  {values['clips_per_s']:.1f} clips/s"
        else:
            text = "  ".join(f"{k} {v:.4f}" for k, v in values.items())
            self.say(f"{self.name} step {step}/{self.total}: validation {text}")

    def say(self, line: str) -> None:
        """Show one line on stderr."""
        self.progress.console.print(Text(printable(line)), soft_wrap=True)
