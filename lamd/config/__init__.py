"""Strict, declarative configuration: one YAML is one target (see `schema` and `loading`)."""

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
    "closest",
    "config_hash",
    "experiments_dir",
    "list_targets",
    "load_experiment",
    "load_target",
    "target_path",
]
