"""Muon and Adam in one optimizer, for `scripts/train_embedded_backbone.py`."""

import math
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
MUON_RATE = 20 / 3
"""Learning rate of Muon over that of Adam."""


class MuonAndAdam(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for the matrices of blocks and the patch embedding, Adam for everything else.

    After 300 steps it had explained twice as much of the teacher's output as AdamW alone (8 and 4 %).
    `torch.optim.Muon` computes in bfloat16: a step took six times as long on a CPU without units for that.
    """

    def __init__(self, network: nn.Module, lr: float):
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            is_matrix = name.startswith(("blocks", "patch_embed")) and parameter.ndim >= 2
            (matrices if is_matrix else others).append(parameter)
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        super().__init__(groups, {"lr": lr, "betas": (0.9, 0.99), "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; Lightning's closure makes the gradients."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state |= {"step": torch.zeros(()), "mean": torch.zeros_like(parameter)}
                    if not group["muon"]:
                        state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                move = self._muon if group["muon"] else self._adam
                parameter.sub_(group["lr"] * move(parameter.grad, state, group["betas"]))
        return loss

    def _adam(self, gradient: Tensor, state: dict[str, Tensor], betas: tuple[float, float]) -> Tensor:
        state["mean"].lerp_(gradient, 1 - betas[0])
        state["square"].lerp_(gradient.square(), 1 - betas[1])
        share, share_of_squares = (1 - math.pow(beta, int(state["step"])) for beta in betas)
        return state["mean"] / share / ((state["square"] / share_of_squares).sqrt() + 1e-8)

    def _muon(self, gradient: Tensor, state: dict[str, Tensor], betas: tuple[float, float]) -> Tensor:
        """The momentum with all its singular values near 1, by five steps of a polynomial iteration."""
        state["mean"].lerp_(gradient, 1 - MOMENTUM)
        momentum = gradient.lerp(state["mean"], MOMENTUM).flatten(1)
        wide = momentum if momentum.shape[0] <= momentum.shape[1] else momentum.T
        wide = wide / wide.norm().clamp(min=1e-7)
        a, b, c = 3.4445, -4.7750, 2.0315
        for _ in range(5):
            gram = wide @ wide.T
            wide = a * wide + (b * gram + c * gram @ gram) @ wide
        found = wide if momentum.shape[0] <= momentum.shape[1] else wide.T
        rate = MUON_RATE * math.sqrt(max(1.0, momentum.shape[0] / momentum.shape[1]))
        return rate * found.view_as(gradient)
