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
    denoiser_config,
)
from lamd.config.strict import closest
from lamd.config.sweep import Sweep
from lamd.config.training import GANConfig, LossConfig, TrainConfig
