"""The paper's solver: hash-grid network, artifact map and residual predictor, fitted by Adam in two phases."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dvt.decomposition.config import Encoding, GradientConfig
from dvt.decomposition.neural_field.artifact import ArtifactMap
from dvt.decomposition.neural_field.equation import Decomposition
from dvt.decomposition.neural_field.field import SemanticField
from dvt.decomposition.neural_field.fit_optimizer import FitOptimizer
from dvt.decomposition.neural_field.objective import objective
from dvt.decomposition.neural_field.residual import ResidualPredictor
from dvt.decomposition.neural_field.schedule import phase_at
from dvt.decomposition.solution import Solution
from dvt.decomposition.tokens import ViewTokens


def solve_gradient(
    tokens: ViewTokens, config: GradientConfig, encoding: Encoding, seed: int, start: Solution | None = None
) -> Solution:
    """Fit F, G and h to the views of one image.

    Args:
        tokens: raw features and places of all views; the fit runs on their device, in float32.
        config: steps, rates, weights, networks.
        encoding: which hash grid.
        seed: of initialisation and of the draw of tokens; the same seed gives the same fit on a CPU; a GPU adds
            gradients in no fixed order.
        start: where the fit begins, such as the closed form: F is that of it and a network on top, which says
            nothing at first. None: the network alone, and a random G, as in the paper.
    """
    device = tokens.raw.device
    num_channels = tokens.raw.shape[-1]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Decomposition(
            SemanticField(num_channels, config.hash_grid, encoding, device, seed),
            ArtifactMap(tokens.grid, num_channels, config.artifact_std),
            ResidualPredictor(num_channels),
        ).to(device)
    if start is not None:
        model.begin_at(start.clean_at, start.artifact)
    optimizer = FitOptimizer(model, config)
    raw, image_xy = tokens.raw.reshape(-1, num_channels), tokens.image_xy.reshape(-1, 2)
    distance = raw.new_zeros(())
    for step, pick in enumerate(draw_tokens(len(raw), config, seed, device)):
        batch = raw[pick]
        loss = objective(
            model(batch, image_xy[pick], pick % tokens.grid.num_patches),
            batch,
            phase_at(step, config.num_steps),
            residual_weight=config.residual_weight,
            sparsity_weight=config.sparsity_weight,
        )
        optimizer.step(loss.total * config.loss_scale)
        distance = loss.distance.detach()
    optimizer.finish()
    return _solution(model.requires_grad_(False), config, {"final_distance": float(distance)})


def draw_tokens(num_tokens: int, config: GradientConfig, seed: int, device: torch.device) -> Iterator[Tensor]:
    """(batch_tokens,) indices for every step, with replacement; drawn on the CPU so that all devices see the same."""
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, config.num_steps, 256):
        steps = min(256, config.num_steps - start)
        yield from torch.randint(num_tokens, (steps, config.batch_tokens), generator=rng).to(device)


def _solution(model: Decomposition, config: GradientConfig, diagnostics: dict[str, float]) -> Solution:
    artifact = model.artifact.as_map().clone()
    constant = artifact.mean(dim=(0, 1)) if config.centre_artifact else torch.zeros_like(artifact[0, 0])
    return Solution(
        clean_at=lambda image_xy: model.field(image_xy) + constant,
        artifact=artifact - constant,
        diagnostics=diagnostics,
    )
