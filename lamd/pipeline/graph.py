"""From a table's config to its cells: stages, clip sets, features, captions, values."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from lamd.base.errors import LamdError
from lamd.config import ROW_RULES, Target, closest, denoiser_config, is_baseline, split_row
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS, Protocol
from lamd.metrics.registry import METRICS
from lamd.paradigms.budget import row_training
from lamd.pipeline.cell import Cell, Step
from lamd.pipeline.rows import ROWS, generated, reconstructed

DIAGNOSED_CLIPS = 256  # at most, evenly spaced
_STEPS = "lamd.pipeline.steps"
LPIPS_WEIGHTS = {"alex": "lpips-alexnet", "vgg": "lpips-vgg16"}


class TablePlan:
    """The cells of one table; each is planned when it is first asked for.

    Attributes:
        target: the table's config.
        device: where the steps run; in no key.
        not_run: why protocols are left out, by name.
        stages: by the name that `lamd train --stage` takes.
    """

    def __init__(
        self, target: Target, device: str, fingerprints: dict[str, Any] | None = None
    ) -> None:
        """Plan a table.

        Args:
            fingerprints: of real data sets' files by name, kept between the points of a sweep.

        Raises:
            LamdError: on an unknown protocol, or a row that no protocol applies to.
        """
        self.target, self.device = target, device
        check_protocols(target.evaluate.protocols, "evaluate.protocols")
        _check_metrics(target)
        self.not_run = missing_weights(target.evaluate.protocols)
        self._fingerprints = {} if fingerprints is None else fingerprints
        self._clips: dict[str, Cell] = {}
        self.stages = self._plan_stages()
        self.values = {row: self._plan_row(row) for row in target.rows}

    @cached_property
    def test(self) -> Cell:
        """The real test clips."""
        return self.real("test")

    @cached_property
    def diagnostics(self) -> Cell:
        """The measures of z_m that explain a sweep's rows."""
        return Cell(
            kind="diagnostics",
            config={"clips": DIAGNOSED_CLIPS},
            parents={"test": self.test, "autoencoder": self.stages["vae"]},
            step=Step(
                f"{_STEPS}.diagnostics:measure_latent",
                {"target": self.target, "device": self.device},
            ),
        )

    def clips(self, row: str) -> Cell:
        """Return the clip set of a row."""
        if row not in self._clips:
            self._clips[row] = ROWS[row].clips(self)
        return self._clips[row]

    def real(self, split: str) -> Cell:
        """Return the real test clips, or as many of the train split."""
        return Cell(
            kind="clips",
            row=split,
            config={"real": split, "num_frames": self.target.data.num_frames},
            parents={"data": self.stages["data"]},
            step=Step(f"{_STEPS}.clips:real_clips", {"target": self.target, "split": split}),
            collective=True,
        )

    def decoded(self) -> Cell:
        """Return the reconstructions with every frame decoded."""
        return reconstructed(self, "decoded", given_kept=False)

    def grid(self) -> dict[str, tuple[Cell, int]]:
        """Return the clip sets of the moving grid by heading, and clips per real clip of each."""
        sets: dict[str, tuple[Cell, int]] = {"real": (self.test, 1)}
        for row in (ROWS[name] for name in self.target.rows):
            if row.short:
                samples = self.target.evaluate.samples_per_clip if row.rule.sampled else 1
                sets[row.short] = (self.clips(row.name), samples)
            if row.name == "lamd":
                limit = self.target.evaluate.grid_clips
                second = generated(self, "lamd, 2nd sample", samples=range(1, 2), limit=limit)
                sets["LaMD, 2nd sample"] = (second, 1)
        return sets

    def row_protocols(self, row: str) -> list[str]:
        """Return the protocols that apply to a row, in the target's order.

        Raises:
            LamdError: when none does.
        """
        names = [n for n in self.target.evaluate.protocols if _applies(PROTOCOLS[n], row)]
        if not names:
            needed = "a precision" if ROWS[row].captions_only else "FVD"
            raise LamdError(
                f"evaluate.protocols: row {row!r} needs {needed}; add one or take the row out"
            )
        return names

    def values_cell(
        self, row: str, fake: Cell, protocols: Sequence[str], *, samples: int = 1
    ) -> Cell:
        """Plan the values of a clip set against the real test clips.

        Args:
            fake: has `samples` clips in a row per real one.
        """
        parents: dict[str, Cell] = {}
        features: dict[str, tuple[str, str]] = {}
        for name in protocols:
            protocol = PROTOCOLS[name]
            metric = METRICS[protocol.metric]
            if metric.needs == "i3d":
                roles = [f"{side} features {protocol.first_frame}" for side in ("real", "fake")]
                for role, clips in zip(roles, (self.test, fake), strict=True):
                    parents[role] = self.features(clips, protocol.first_frame)
                features[name] = (roles[0], roles[1])
            if metric.needs != "i3d" or metric.per_class:
                parents |= {"real": self.test, "fake": fake}
            if metric.needs == "captions":
                parents["captions"] = Cell(
                    kind="captions",
                    row=fake.row,
                    config={},
                    parents={"clips": fake, "captioner": self.stages["captioner"]},
                    step=Step(f"{_STEPS}.captions:write_captions", {"device": self.device}),
                )
        options = {
            "protocols": list(protocols),
            "features": features,
            "num_frames": self.target.data.num_frames,
            "samples": samples,
            "device": self.device,
        }
        weights = [w for name in protocols for w in METRICS[PROTOCOLS[name].metric].weights]
        return Cell(
            kind="values",
            row=row,
            config={"protocols": list(protocols)},  # frames and samples are in the parents' keys
            parents=parents,
            step=Step(f"{_STEPS}.values:row_values", options),
            weights=tuple(dict.fromkeys(weights)),
        )

    def features(self, clips: Cell, first_frame: int) -> Cell:
        """Plan the I3D features of a clip set from a frame on."""
        return Cell(
            kind="features",
            row=clips.row,
            detail=f"from frame {first_frame}" if first_frame else "",
            config={"weights": "i3d-kinetics-400", "first_frame": first_frame},
            parents={"clips": clips},
            step=Step(
                f"{_STEPS}.values:i3d_features",
                {"first_frame": first_frame, "label": clips.row, "device": self.device},
            ),
            collective=True,
            weights=("i3d-kinetics-400",),
        )

    def _plan_row(self, row: str) -> Cell:
        protocols = [name for name in self.row_protocols(row) if name not in self.not_run]
        samples = self.target.evaluate.samples_per_clip if ROW_RULES[row].sampled else 1
        return self.values_cell(row, self.clips(row), protocols, samples=samples)

    def _plan_stages(self) -> dict[str, Cell]:
        target = self.target
        dump = target.model_dump(mode="json")
        shape = {"num_frames": target.data.num_frames, "size": target.data.size}
        data = self._data()
        stages = {"data": data}

        def train(
            stage: str,
            config: dict[str, Any],
            parents: dict[str, Cell],
            *,
            kind: str = "",
            detail: str = "",
            options: Any = None,
        ) -> Cell:
            lpips = target.loss.lpips_weight and stage in ("vae", "video_vae")
            stages[stage] = Cell(
                kind=kind or stage,
                detail=detail,
                config=config,
                parents={"data": data, **parents},
                step=Step(
                    f"{_STEPS}.train:train",
                    {
                        "stage": kind or stage,
                        "target": target,
                        "options": options,
                        "device": self.device,
                    },
                ),
                collective=True,
                weights=(LPIPS_WEIGHTS[target.loss.lpips_backbone],) if lpips else (),
            )
            return stages[stage]

        def encode(kind: str, autoencoder: Cell) -> Cell:
            stages[kind] = Cell(
                kind=kind,
                config={k: dump["train_dmg"][k] for k in ("window_stride", "num_validation_clips")},
                parents={"data": data, "autoencoder": autoencoder},
                step=Step(
                    f"{_STEPS}.train:encode_latents",
                    {"stage": autoencoder.kind, "target": target, "device": self.device},
                ),
            )
            return stages[kind]

        loss, first = dump["loss"], dump["train_vae"]
        config = {"data": shape, "vae": dump["vae"], "loss": loss, "train": first}
        vae = train("vae", config, {})
        latents = encode("latents", vae)
        config = {"dmg": dump["dmg"], "train": dump["train_dmg"]}
        train("dmg", config, {"autoencoder": vae, "latents": latents})
        if target.captioner is not None:
            config = {"captioner": dump["captioner"], "train": dump["train_captioner"]}
            train("captioner", config, {})
        parents: dict[str, dict[str, Cell]] = {"pixel": {}}
        for row in filter(is_baseline, target.rows):
            options, (name, budget) = row_training(target, row), split_row(row)
            if name not in parents:
                autoencoder = dump["baselines"]["latent_video"]["autoencoder"]
                config = {"data": shape, "autoencoder": autoencoder, "loss": loss, "train": first}
                video_vae = train("video_vae", config, {})
                video_latents = encode("video_latents", video_vae)
                parents[name] = {"autoencoder": video_vae, "latents": video_latents}
            config = {
                "data": shape,
                "train": options.model_dump(mode="json"),
                **denoiser_config(target, name),
            }
            train(row, config, parents[name], kind=name, detail=budget, options=options)
        return stages

    def _data(self) -> Cell:
        data = self.target.data
        dataset = DATASETS[data.name]
        config = data.model_dump(mode="json")
        if data.source == "simulated":
            config["generator"] = dataset.generator
        else:
            key = json.dumps([data.name, data.own])
            if key not in self._fingerprints:
                self._fingerprints[key] = dataset.fingerprint(**data.own)
            config["files"] = self._fingerprints[key]
        return Cell(
            kind="data",
            config=config,
            step=Step(f"{_STEPS}.data:build_data", {"target": self.target}),
            states_content=True,
        )


def check_protocols(names: Sequence[str], key: str) -> None:
    """Raise LamdError on an unknown protocol; `key` is the config key that names it."""
    for name in names:
        if name not in PROTOCOLS:
            raise LamdError(f"{key}: unknown {name!r}{closest(name, PROTOCOLS)}; fix the value")


def missing_weights(names: Sequence[str]) -> dict[str, str]:
    """Return why protocols cannot run, by name: those whose weights a user has to bring."""
    from lamd import weights

    reasons = {}
    for name in names:
        for artifact in METRICS[PROTOCOLS[name].metric].weights:
            if weights.is_released(artifact) and not weights.weights_path(artifact).exists():
                reasons[name] = f"weights missing, see `lamd weights fetch {artifact}`"
    return reasons


def _applies(protocol: Protocol, row: str) -> bool:
    metric, info = METRICS[protocol.metric], ROWS[row]
    if info.captions_only:
        return metric.needs == "captions"
    if metric.sampled_only:
        return info.rule.sampled
    return info.paired or not metric.paired


def _check_metrics(target: Target) -> None:
    metrics = [METRICS[PROTOCOLS[name].metric] for name in target.evaluate.protocols]
    if any(m.sampled_only for m in metrics) and target.evaluate.samples_per_clip < 2:
        raise LamdError("evaluate.samples_per_clip: diversity needs 2 or more; raise it")
    if any(m.needs == "captions" for m in metrics) and target.captioner is None:
        raise LamdError("evaluate.protocols: precisions need a captioner; add it or take them out")
    if any(m.per_class for m in metrics):
        data = target.data
        classes = DATASETS[data.name].classes
        if not classes:
            raise LamdError(
                f"evaluate.protocols: cfvd needs classes, {data.name} has none; take it out"
            )
        least = 2 * len(classes)
        if data.num_test is not None and data.num_test < least:
            raise LamdError(
                f"data.num_test {data.num_test}: cfvd needs {least}, two per class; raise it"
            )
