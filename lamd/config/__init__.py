"""Strict, declarative configuration: one YAML is one target (see `schema` and `loading`)."""

from lamd.config.loading import (
    PROFILES,
    config_hash,
    experiments_dir,
    list_targets,
    load_target,
    target_path,
)
from lamd.config.schema import (
    DataConfig,
    DMGConfig,
    EvaluateConfig,
    GANConfig,
    LossConfig,
    SamplerConfig,
    Target,
    TrainConfig,
    VAEConfig,
)

__all__ = [
    "PROFILES",
    "DMGConfig",
    "DataConfig",
    "EvaluateConfig",
    "GANConfig",
    "LossConfig",
    "SamplerConfig",
    "Target",
    "TrainConfig",
    "VAEConfig",
    "config_hash",
    "experiments_dir",
    "list_targets",
    "load_target",
    "target_path",
]
