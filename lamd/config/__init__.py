"""Strict, declarative configuration: one YAML is one target (see `schema` and `loading`)."""

from lamd.config.baselines import (
    Baseline,
    BaselinesConfig,
    VideoAutoencoderConfig,
    baseline_sampler,
    denoised_shape,
    denoiser_config,
    is_baseline,
    split_row,
    unet_options,
)
from lamd.config.costs import CostFigure, Point, QualityFigure, SamplingCost
from lamd.config.derived import Figure, ReconstructionTable
from lamd.config.loading import (
    PROFILES,
    AnyTarget,
    config_hash,
    experiments_dir,
    list_targets,
    load_experiment,
    load_target,
    target_path,
)
from lamd.config.schema import (
    CaptionerConfig,
    DataConfig,
    DMGConfig,
    EvaluateConfig,
    GANConfig,
    LossConfig,
    PromptConfig,
    SamplerConfig,
    Target,
    TrainConfig,
    VAEConfig,
)
from lamd.config.sweep import Sweep
from lamd.config.trees import closest

__all__ = [
    "PROFILES",
    "AnyTarget",
    "Baseline",
    "BaselinesConfig",
    "CaptionerConfig",
    "CostFigure",
    "DMGConfig",
    "DataConfig",
    "EvaluateConfig",
    "Figure",
    "GANConfig",
    "LossConfig",
    "Point",
    "PromptConfig",
    "QualityFigure",
    "ReconstructionTable",
    "SamplerConfig",
    "SamplingCost",
    "Sweep",
    "Target",
    "TrainConfig",
    "VAEConfig",
    "VideoAutoencoderConfig",
    "baseline_sampler",
    "closest",
    "config_hash",
    "denoised_shape",
    "denoiser_config",
    "experiments_dir",
    "is_baseline",
    "list_targets",
    "load_experiment",
    "load_target",
    "split_row",
    "target_path",
    "unet_options",
]
