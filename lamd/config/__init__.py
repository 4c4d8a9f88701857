"""Strict, declarative configuration: one YAML is one target (see `schema` and `loading`)."""

from lamd.config.data import DataConfig
from lamd.config.kinds import (
    CostFigure,
    Derived,
    Figure,
    Point,
    QualityFigure,
    ReconstructionTable,
    SamplingCost,
)
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
from lamd.config.networks import CaptionerConfig, DMGConfig, VAEConfig, VideoAutoencoderConfig
from lamd.config.registries import (
    DATA_OPTIONS,
    ROW_RULES,
    SAMPLERS,
    Baseline,
    DataOptions,
    RowRule,
    SamplerRule,
    is_baseline,
    split_row,
)
from lamd.config.schema import (
    AnyTarget,
    LatentVideoConfig,
    RuntimeConfig,
    SamplerConfig,
    Target,
    baseline_sampler,
    denoised_shape,
    denoiser_config,
    unet_options,
)
from lamd.config.strict import closest
from lamd.config.sweep import Sweep
from lamd.config.training import GANConfig, LossConfig, TrainConfig

__all__ = [
    "DATA_OPTIONS", "KINDS", "PROFILES", "ROW_RULES", "SAMPLERS", "AnyTarget", "Baseline",
    "CaptionerConfig", "CostFigure", "DMGConfig", "DataConfig", "DataOptions", "Derived", "Figure",
    "GANConfig", "LatentVideoConfig", "LossConfig", "Point", "QualityFigure",
    "ReconstructionTable", "RowRule", "RuntimeConfig", "SamplerConfig", "SamplerRule",
    "SamplingCost", "Sweep", "Target", "TrainConfig", "VAEConfig", "VideoAutoencoderConfig",
    "baseline_sampler", "closest", "config_hash", "denoised_shape", "denoiser_config",
    "describe_target", "experiments_dir", "is_baseline", "list_targets", "load_experiment",
    "load_target", "split_row", "unet_options",
]  # fmt: skip
