"""The learning rate as a function of the step."""

from math import cos, pi, sqrt

from dvt.training.config import OptimizerConfig


def peak_learning_rate(config: OptimizerConfig, batch_size: int) -> float:
    """The highest learning rate of a run: the square-root rule of the released code.

    Args:
        config: the optimiser.
        batch_size: images per update, over all devices.
    """
    return config.base_learning_rate * sqrt(batch_size / config.reference_batch)


def learning_rate_at(step: int, num_steps: int, config: OptimizerConfig, batch_size: int) -> float:
    """Linear warm-up from zero, then half a cosine down to the final learning rate.

    Args:
        step: updates done so far, from 0.
        num_steps: updates of the whole run.
        config: the optimiser.
        batch_size: images per update, over all devices.
    """
    peak, last = peak_learning_rate(config, batch_size), config.final_learning_rate
    warm = config.warmup * num_steps
    if step < warm:
        return peak * step / warm
    progress = min(1.0, (step - warm) / max(1.0, num_steps - warm))
    return last + (peak - last) * (1 + cos(pi * progress)) / 2
