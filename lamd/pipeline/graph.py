"""From a table's config to its cells: stages, clip sets, features, captions, values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lamd import weights
from lamd.base.errors import LamdError
from lamd.config import ROW_RULES, Target, closest, denoiser_config, is_baseline, split_row
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS, metric_for
from lamd.metrics.registry import METRICS
from lamd.paradigms.budget import first_stage, row_training
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.rows import ROWS, generated

WINDOWS = ("window_stride", "num_validation_clips", "validation_fraction")  # what selects them
DIAGNOSED_CLIPS = 256  # at most, evenly spaced


@dataclass(eq=False)
class TablePlan:
    """The cells of one table; LamdError on an unknown protocol, or a row that none applies to."""

    target: Target
    device: str  # where the steps run; in no key
    # Of real data sets' files, by name and options; kept between the points of a sweep.
    fingerprints: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_protocols(self.target.evaluate.protocols, "evaluate.protocols")
        check_metrics(self.target, self.target.evaluate.protocols, "evaluate.protocols")
        self.stages = self._plan_stages()  # by the name that `lamd train --stage` takes
        self.test: Cell = self.real("test")
        self.values = {
            row: self.values_cell(row, self.clips(row), self.row_protocols(row))
            for row in self.target.rows
        }

    @cached_property
    def diagnostics(self) -> Cell:
        """The measures of z_m that explain a sweep's rows."""
        return Cell(
            kind="diagnostics",
            config={"clips": DIAGNOSED_CLIPS},
            parents={"test": self.test, "autoencoder": self.stages["vae"]},
            step=step_of("latents:measure_latent", target=self.target, device=self.device),
        )

    def clips(self, row: str) -> Cell:
        """Return the clip set of a row."""
        return ROWS[row].clips(self)

    def real(self, split: str) -> Cell:
        """Return the real test clips, or as many of the train split."""
        return Cell(
            kind="clips",
            row=split,
            config={
                "real": split,
                "num_frames": self.target.data.num_frames,
                **self.target.evaluate.model_dump(mode="json", include={"windows"}),
            },
            parents={"data": self.stages["data"]},
            step=step_of("clips:real_clips", target=self.target, split=split),
            collective=True,
        )

    def samples(self, row: str) -> int:
        """Return the number of clips of a row per real test clip."""
        is_sampled = row in ROW_RULES and ROW_RULES[row].sampled
        return self.target.evaluate.samples_per_clip if is_sampled else 1

    def grid(self) -> dict[str, tuple[Cell, int]]:
        """Return the clip sets of the moving grid by heading, and clips per real clip of each."""
        sets = {"real": (self.test, 1)}
        for row in self.target.rows:
            if heading := ROWS[row].short:
                sets[heading] = (self.clips(row), self.samples(row))
            if row == "lamd":
                limit = self.target.evaluate.grid_clips
                second = generated(self, "lamd, 2nd sample", samples=range(1, 2), limit=limit)
                sets["LaMD, 2nd sample"] = (second, 1)
        return sets

    def row_protocols(self, row: str) -> list[str]:
        """Return the protocols that apply to a row, in the target's order; LamdError if none."""
        names = [name for name in self.target.evaluate.protocols if _applies(name, row)]
        if not names:
            needed = "a score of its captions" if ROWS[row].captions_only else "FVD"
            raise LamdError(
                f"evaluate.protocols: row {row!r} needs {needed}; add one or take the row out"
            )
        return names

    def values_cell(self, row: str, fake: Cell, protocols: Sequence[str]) -> Cell:
        """Plan the values of a row's clips against the real test clips.

        Protocols whose weights a user has to bring are left out until they are there.
        """
        missing = missing_weights(protocols)
        names = [name for name in protocols if name not in missing]
        parents = {"real": self.test}  # for its keys at least
        for name in names:
            metric, first_frame = metric_for(name), PROTOCOLS[name].first_frame
            if metric.needs == "i3d":
                for side, clips in (("real", self.test), ("fake", fake)):
                    features = self.features(clips, first_frame)
                    parents[f"{side} features {first_frame}"] = features
            if metric.needs != "i3d" or metric.per_class:
                parents["fake"] = fake
            if metric.needs == "captions":
                parents["captions"] = Cell(
                    kind="captions",
                    row=fake.row,
                    config={},
                    parents={"clips": fake, "captioner": self.stages["captioner"]},
                    step=step_of("clips:write_captions", device=self.device),
                )
            if metric.needs == "tracks":
                parents["tracks"] = Cell(
                    kind="tracks",
                    config={"simulated": self.simulation()},
                    parents={"test": self.test},
                    step=step_of("clips:true_tracks", target=self.target),
                )
        return Cell(
            kind="values",
            row=row,
            config={"protocols": names},  # frames and samples are in the parents' keys
            parents=parents,
            step=step_of(
                "values:row_values",
                protocols=names,
                num_frames=self.target.data.num_frames,
                samples=self.samples(row),
                device=self.device,
            ),
            weights=tuple(dict.fromkeys(w for name in names for w in metric_for(name).weights)),
        )

    def simulation(self) -> dict[str, Any]:
        """Return what decides the test split of a stand-in, for keys."""
        config = self.stages["data"].config
        return {k: v for k, v in config.items() if k not in ("num_train", "all_frames")}

    def features(self, clips: Cell, first_frame: int) -> Cell:
        """Plan the I3D features of a clip set from a frame on."""
        options = {"first_frame": first_frame, "label": clips.row, "device": self.device}
        return Cell(
            kind="features",
            row=clips.row,
            detail=f"from frame {first_frame}" if first_frame else "",
            config={"weights": "i3d-kinetics-400", "first_frame": first_frame},
            parents={"clips": clips},
            step=step_of("values:i3d_features", **options),
            collective=True,
            weights=("i3d-kinetics-400",),
        )

    def _plan_stages(self) -> dict[str, Cell]:
        target, stages = self.target, {"data": self._data()}
        dump, where = target.model_dump(mode="json"), {"target": target, "device": self.device}
        lpips = METRICS[f"lpips-{target.loss.lpips_backbone}"].weights

        def train(
            name: str,
            config: dict[str, Any],
            parents: Mapping[str, Cell] | None = None,
            *,
            kind: str = "",
            detail: str = "",
            options: Any = None,
            trains: Target = target,
        ) -> None:
            stages[name] = Cell(
                kind=kind or name,
                detail=detail,
                config=config,
                parents={"data": stages["data"], **(parents or {})},
                step=step_of(
                    "train:train", stage=kind or name, options=options, **where | {"target": trains}
                ),
                collective=True,
                split="train",
                weights=lpips if "loss" in config and target.loss.lpips_weight else (),
            )

        augment = {} if target.data.augment is None else {"augment": dump["data"]["augment"]}

        def encode(kind: str, autoencoder: str) -> dict[str, Cell]:
            """Plan the latents of an autoencoder; return both by role."""
            stages[kind] = Cell(
                kind=kind,
                config={key: dump["train_dmg"][key] for key in WINDOWS} | augment,
                parents={"data": stages["data"], "autoencoder": stages[autoencoder]},
                step=step_of("train:encode_latents", stage=autoencoder, **where),
                collective=True,
                split="train",
            )
            return {"autoencoder": stages[autoencoder], "latents": stages[kind]}

        shape = {"num_frames": target.data.num_frames, "size": target.data.size} | augment
        first = {"data": shape, "loss": dump["loss"], "train": target.train_vae.identity()}
        train("vae", first | {"vae": dump["vae"]})
        second = {"dmg": dump["dmg"], "train": target.train_dmg.identity()}
        train("dmg", second, encode("latents", "vae"))
        if target.captioner is not None and target.train_captioner is not None:
            trained = {"train": target.train_captioner.identity()}
            captioner = {"captioner": dump["captioner"]} | trained | augment
            train("captioner", captioner)
        if any(ROW_RULES[row].baseline == "latent_video" for row in target.rows):
            autoencoder = dump["baselines"]["latent_video"]["autoencoder"]
            longer = first_stage(target, "latent_video")
            own = {"train": longer.train_vae.identity(), "autoencoder": autoencoder}
            own["loss"] = longer.loss.model_dump(mode="json")
            train("video_vae", first | own, trains=longer)
        for row in filter(is_baseline, target.rows):
            options, (name, budget), parents = row_training(target, row), split_row(row), None
            if name == "latent_video":
                parents = encode("video_latents", "video_vae")
            config = {"data": shape, "train": options.identity()}
            config |= denoiser_config(target, name)
            train(row, config, parents, kind=name, detail=budget, options=options)
        return stages

    def _data(self) -> Cell:
        data = self.target.data
        dataset = DATASETS[data.name]
        config = data.model_dump(mode="json", exclude={"augment"})
        if data.augment is not None and data.augment.time_jitter:
            config["all_frames"] = True
        if data.source == "simulated":
            config["generator"] = dataset.generator
        else:
            key = json.dumps([data.name, data.own])
            if key not in self.fingerprints:
                self.fingerprints[key] = dataset.fingerprint(**data.own)
            config["files"] = self.fingerprints[key]
        return Cell(
            kind="data",
            config=config,
            step=step_of("data:build_data", target=self.target),
            states_content=True,
        )


def check_protocols(names: Sequence[str], key: str) -> None:
    """Raise LamdError on an unknown protocol; `key` is the config key that names it."""
    for name in names:
        if name not in PROTOCOLS:
            raise LamdError(f"{key}: unknown {name!r}{closest(name, PROTOCOLS)}; fix the value")
    columns = {PROTOCOLS[name].column: name for name in reversed(names)}
    for name in names:
        if (first := columns[PROTOCOLS[name].column]) != name or names.count(name) > 1:
            raise LamdError(f"{key}: {first} and {name} are one column of a table; take one out")


def missing_weights(names: Sequence[str]) -> dict[str, str]:
    """Return why protocols cannot run, by name: those whose weights a user has to bring."""
    return {
        name: f"weights missing, see `lamd weights fetch {artifact}`"
        for name in names
        for artifact in metric_for(name).weights
        if not weights.can_fetch(artifact)
    }


def _applies(protocol: str, row: str) -> bool:
    metric, info = metric_for(protocol), ROWS[row]
    if info.captions_only:
        return metric.needs == "captions"
    if metric.sampled_only:
        return ROW_RULES[row].sampled
    return info.paired or not metric.paired


def check_metrics(target: Target, names: Sequence[str], key: str) -> None:
    """Raise LamdError where the clips of a target are not what protocols need."""
    data, metrics = target.data, [metric_for(name) for name in names]
    for name, metric in zip(names, metrics, strict=True):
        least = metric.min_frames + PROTOCOLS[name].first_frame
        for what, has, needed in (
            ("data.num_frames", data.num_frames, least),
            ("data.size", data.size, metric.min_size),
            ("data.num_test", data.num_test, metric.min_clips),
        ):
            if has is not None and has < needed:
                raise LamdError(f"{what} {has}: {name} needs {needed}; raise it or take {name} out")
    if any(m.sampled_only for m in metrics) and target.evaluate.samples_per_clip < 2:
        raise LamdError("evaluate.samples_per_clip: diversity needs 2 or more; raise it")
    if any(m.needs == "captions" for m in metrics) and target.captioner is None:
        raise LamdError(f"{key}: captions need a captioner; add it or take them out")
    tracked = " and ".join(m.name for m in metrics if m.needs == "tracks")
    if tracked:
        wrong = "data.source: simulated" if target.data.source != "simulated" else ""
        if not DATASETS[target.data.name].tracks:
            wrong = f"true tracks, the simulator of {target.data.name} has none"
        if wrong:
            raise LamdError(f"{key}: {tracked} needs {wrong}; take it out")
    if any(m.per_class for m in metrics):
        classes = DATASETS[data.name].classes
        if not classes:
            raise LamdError(f"{key}: cfvd needs classes, {data.name} has none; take it out")
        least = 2 * len(classes)
        if data.num_test is not None and data.num_test < least:
            raise LamdError(
                f"data.num_test {data.num_test}: cfvd needs {least}, two per class; raise it"
            )
