"""Options of stage 1. Cheap to import, for help pages."""

from dataclasses import dataclass, field
from enum import Enum

from dvt.errors import ConfigError
from dvt.views.config import ViewsConfig


class Solver(str, Enum):
    """Solver of the equation."""

    closed_form = "closed_form"
    """F is a bilinear grid, so the model is linear: direct solution, reweighted for outliers."""
    gradient = "gradient"
    """F is a hash-grid network as in the paper: fitted by Adam in two phases."""


class Encoding(str, Enum):
    """Implementation of the hash grid."""

    auto = "auto"
    """tiny-cuda-nn if installed and the device is CUDA, else plain PyTorch."""
    torch = "torch"
    """Plain PyTorch, on any device."""
    tcnn = "tcnn"
    """tiny-cuda-nn (the `tcnn` extra)."""


@dataclass(kw_only=True, slots=True)
class ClosedFormConfig:
    """The direct solver; `docs/closed_form.md` explains each number."""

    nodes_per_patch: float = 4.0
    """Nodes of the bilinear grid of F per patch of the full view, along each side."""
    smoothness: float = 0.2
    """Penalty on differences of neighbouring nodes of F, in units of the mean weight per node."""
    artifact_ridge: float = 0.05
    """Smallest ridge on G, in units of the weight at its patch position: scales G by 1 / (1 + ridge). Above zero, as
    otherwise a constant could move between F and G."""
    correlated_views: float = 20.0
    """Correlation length of view errors: shrinkage assumes V / n independent views."""
    reweightings: int = 2
    """Rounds of downweighting tokens that neither F nor G explains; plays the role of h."""
    outlier_scale: float = 4.0
    """Squared error, in medians, at which a token's weight is one half."""
    border_weight: float = 1.0
    """Weight of the patches in the outermost rows and columns of a view, against 1 of all others."""
    view_offset: float = 0.0
    """Share of a crop's mean error that becomes a constant of the crop, from 0 (no constants) to below 1. The full view
    has none; 0.85 removes rectangles from maps of ViTs whose features depend on the whole view (docs/seams.md)."""
    offset_radius: float = 0.125
    """Only with view_offset: what the constants of crops have in common within this radius remains in F, as a share of
    the longer side of the image. A small radius leaves rectangles."""

    def __post_init__(self) -> None:
        for name in ("nodes_per_patch", "artifact_ridge", "outlier_scale", "border_weight", "offset_radius"):
            if not getattr(self, name) > 0:  # not <=: that lets NaN through
                raise ConfigError(f"closed_form.{name}={getattr(self, name)}: give a number above 0.")
        for name in ("smoothness", "correlated_views", "reweightings"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"closed_form.{name}={getattr(self, name)}: give 0 or more.")
        if not 0 <= self.view_offset < 1:
            raise ConfigError(f"closed_form.view_offset={self.view_offset}: give a share, 0 <= view_offset < 1.")


@dataclass(kw_only=True, slots=True)
class HashGridConfig:
    """The multiresolution hash grid of F, in tiny-cuda-nn's terms (paper, App. A.1)."""

    n_levels: int = 16
    """Number of grids from base_resolution to max_resolution."""
    n_features_per_level: int = 8
    """Features per vertex."""
    log2_hashmap_size: int = 20
    """Largest number of entries per level, as a power of two; finer levels share entries by hashing."""
    base_resolution: int = 16
    """Vertices per side of the coarsest level."""
    max_resolution: int = 1024
    """Vertices per side of the finest level."""

    def __post_init__(self) -> None:
        for name in ("n_levels", "n_features_per_level", "log2_hashmap_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gradient.hash_grid.{name}={getattr(self, name)}: give at least 1.")
        if not 2 <= self.base_resolution <= self.max_resolution:
            raise ConfigError(
                f"gradient.hash_grid: base_resolution={self.base_resolution}, max_resolution={self.max_resolution}:"
                " give 2 <= base_resolution <= max_resolution."
            )


@dataclass(kw_only=True, slots=True)
class GradientConfig:
    """The paper's solver (s. 4.1, App. A.1)."""

    warm_start: bool = False
    """Initialise to the closed form (closed_form.*); the network corrects it. A tenth of the steps suffices."""
    num_steps: int = 20_000
    """Optimiser steps: G is fitted in the first half, h in the second, F throughout."""
    batch_tokens: int = 2048
    """Tokens per step, drawn over all views with replacement."""
    learning_rate: float = 0.01
    """Highest learning rate of Adam."""
    final_learning_rate: float = 0.001
    """Learning rate at the last step of the cosine."""
    warmup: float = 0.1
    """Share of the steps with a rising learning rate."""
    weight_decay: float = 1e-5
    """L2 term inside Adam, on the networks and on G."""
    decay_hash_grid: bool = False
    """Also decay the hash grid, as the released code does; moves entries that no token uses."""
    loss_scale: float = 1.0
    """Factor on the loss before the gradient. The released code uses 1024, which weakens its decay 1024 times."""
    residual_weight: float = 0.1
    """Weight of h's squared error (alpha of the paper)."""
    sparsity_weight: float = 0.02
    """Weight of h's mean magnitude (beta of the paper)."""
    artifact_std: float = 0.02
    """Standard deviation of the initial G."""
    centre_artifact: bool = True
    """Move the mean of G to F at the end; the fit cannot separate a constant."""
    hash_grid: HashGridConfig = field(default_factory=HashGridConfig)
    """The hash grid of F."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gradient.{name}={getattr(self, name)}: give at least 1.")
        for name in ("learning_rate", "loss_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"gradient.{name}={getattr(self, name)}: give a number above 0.")
        for name in ("final_learning_rate", "weight_decay", "residual_weight", "sparsity_weight", "artifact_std"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"gradient.{name}={getattr(self, name)}: give 0 or more.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"gradient.warmup={self.warmup}: give a share of the steps, 0 <= warmup < 1.")


@dataclass(kw_only=True, slots=True)
class DecomposeConfig:
    """All options of stage 1; `configs/quality/*.yaml` lists the changes of each quality."""

    solver: Solver = Solver.closed_form
    """closed_form (direct, seconds) or gradient (the paper's neural field)."""
    encoding: Encoding = Encoding.auto
    """Hash grid of the gradient solver: auto, torch or tcnn."""
    batch_size: int = 32
    """Views per forward pass of the backbone."""
    samples_per_patch: int = 4
    """The clean feature of a patch is the mean of F over k x k positions in it; 1: F at its centre."""
    fine: int = 1
    """Cells per patch along each side at which F is read as well: the methods decomposed@fine4 and srt@fine4; a store
    then holds F, which can be read at any grid. 1: at the patches alone."""
    views: ViewsConfig = field(default_factory=ViewsConfig)
    """The views."""
    closed_form: ClosedFormConfig = field(default_factory=ClosedFormConfig)
    """The direct solver."""
    gradient: GradientConfig = field(default_factory=GradientConfig)
    """The paper's solver."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "samples_per_patch", "fine"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: give at least 1.")
