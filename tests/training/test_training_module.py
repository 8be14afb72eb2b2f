"""The learning rate, against the numbers of the paper and of the released code."""

import itertools
import math

import pytest

from dvt.errors import ConfigError
from dvt.training.config import OptimizerConfig, TrainerConfig, TrainingConfig
from dvt.training.module import learning_rate_at, peak_learning_rate


@pytest.mark.parametrize(("batch_size", "rate"), [(64, 1.0e-4), (128, 1.41e-4), (256, 2e-4), (512, 2.83e-4)])
def test_the_square_root_rule_gives_the_rates_of_the_released_scripts(batch_size, rate):
    assert peak_learning_rate(OptimizerConfig(), batch_size) == pytest.approx(rate, rel=3e-3)


def test_it_rises_from_zero_in_the_first_15_percent_then_falls_like_half_a_cosine():
    def rate(step):
        return learning_rate_at(step, 1000, OptimizerConfig(), 256)

    assert rate(0) == 0
    assert rate(75) == pytest.approx(1e-4)
    assert rate(150) == pytest.approx(2e-4)
    assert rate(575) == pytest.approx((2e-4 + 1e-6) / 2)  # half way down
    assert rate(1000) == pytest.approx(1e-6)
    assert rate(1100) == pytest.approx(1e-6)
    rates = [rate(step) for step in range(1001)]
    assert max(rates) == pytest.approx(2e-4)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[150:]))


def test_without_warm_up_it_begins_at_its_peak():
    assert learning_rate_at(0, 10, OptimizerConfig(warmup=0.0), 256) == pytest.approx(2e-4)


@pytest.mark.parametrize(
    "wrong", [{"base_learning_rate": 0.0}, {"warmup": 1.0}, {"ema_decay": -0.1}, {"clip_norm": math.nan}]
)
def test_values_without_meaning_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        OptimizerConfig(**wrong)


def test_formats_that_lose_small_updates_are_refused():
    with pytest.raises(ConfigError, match=r"trainer.precision=bf16-true: give one of 32-true, bf16-mixed, 16-mixed"):
        TrainerConfig(precision="bf16-true")


def test_zero_steps_are_refused():
    with pytest.raises(ConfigError, match=r"num_steps=0: give at least 1"):
        TrainingConfig(num_steps=0)
