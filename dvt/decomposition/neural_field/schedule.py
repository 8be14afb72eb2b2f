"""What happens at which step of the gradient solver, as pure functions."""

import math
from enum import Enum


class Phase(Enum):
    """The two halves of a fit."""

    joint = "joint"
    """F and G share the raw features between them."""
    residual = "residual"
    """G is frozen; h learns what is left, F goes on."""


def phase_at(step: int, num_steps: int) -> Phase:
    """The phase of a step, counted from 0; the switch comes after half the steps plus one, as in the released code."""
    return Phase.residual if step > num_steps // 2 else Phase.joint


def learning_rate_at(step: int, num_steps: int, *, highest: float, final: float, warmup: float) -> float:
    """Linear rise from zero over a share `warmup` of the steps, then half a cosine down to `final`."""
    warmup_steps = int(warmup * num_steps)
    if step < warmup_steps:
        return highest * step / warmup_steps
    progress = (step - warmup_steps) / max(num_steps - warmup_steps, 1)
    return final + 0.5 * (highest - final) * (1 + math.cos(math.pi * progress))
