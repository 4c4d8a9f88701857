"""Strict, declarative configuration: one YAML is one target (see `schema` and `loading`)."""

from lamd.config.costs import CostFigure, Point, QualityFigure, SamplingCost
from lamd.config.derived import Figure, ReconstructionTable
from lamd.config.loading import (
    KINDS,
    PROFILES,
    config_hash,
    describe_target,
    experiments_dir,
    list_targets,
    load_experiment,
    load_target,
)
from lamd.config.registries import (
    DATA_OPTIONS,
    ROW_RULES,
    SAMPLERS,
    Baseline,
    RowRule,
    SamplerRule,
    is_baseline,
    split_row,
)
from lamd.config.schema import (
    CaptionerConfig,
    DataConfig,
    DMGConfig,
    GANConfig,
    LossConfig,
    SamplerConfig,
    TrainConfig,
    VAEConfig,
    VideoAutoencoderConfig,
)
from lamd.config.strict import AnyTarget
from lamd.config.sweep import Sweep
from lamd.config.table import (
    Target,
    baseline_sampler,
    denoised_shape,
    denoiser_config,
    unet_options,
)
from lamd.config.trees import closest

__all__ = [
    "DATA_OPTIONS", "KINDS", "PROFILES", "ROW_RULES", "SAMPLERS", "AnyTarget", "Baseline",
    "CaptionerConfig", "CostFigure", "DMGConfig", "DataConfig",
    "Figure", "GANConfig", "LossConfig", "Point", "QualityFigure",
    "ReconstructionTable", "RowRule", "SamplerConfig", "SamplerRule", "SamplingCost", "Sweep",
    "Target", "TrainConfig", "VAEConfig", "VideoAutoencoderConfig", "baseline_sampler", "closest",
    "config_hash", "denoised_shape", "denoiser_config", "describe_target", "experiments_dir",
    "is_baseline", "list_targets", "load_experiment", "load_target", "split_row", "unet_options",
]  # fmt: skip
