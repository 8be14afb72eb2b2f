"""Learning rates as functions of the step."""

from math import cos, pi


def warmup_then_cosine(step: int, num_steps: int, *, peak: float, final: float, warmup_steps: float) -> float:
    """A linear rise from zero to `peak`, then half a cosine down to `final`.

    Args:
        step: steps done so far, from 0.
        num_steps: steps of the whole run.
        peak: the highest rate.
        final: the rate after the last step.
        warmup_steps: steps of the rise; it need not be a whole number.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1.0, num_steps - warmup_steps))
    return final + (peak - final) * (1 + cos(pi * progress)) / 2
