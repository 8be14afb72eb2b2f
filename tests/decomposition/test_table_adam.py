"""Adam where rows are read, against Adam over the whole table."""

from functools import partial

import pytest
import torch

from dvt.decomposition.neural_field.table_adam import TableAdam
from dvt.schedules import warmup_then_cosine

ROWS, STEPS, BETAS, EPS = 50, 300, (0.9, 0.99), 1e-15
rate_at = partial(warmup_then_cosine, num_steps=STEPS, peak=0.01, final=0.001, warmup_steps=0.1 * STEPS)


def whole_table_adam(table):
    return torch.optim.Adam([table], betas=BETAS, eps=EPS)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.other_types  # float64, for exact comparison
def test_equals_adam_over_all_rows(dtype, tolerance):
    """Some rows are read at every step, some in between, some never; the losses on the way are the same too."""
    rng = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(ROWS, 3, dtype=dtype, generator=rng))
    theirs = torch.nn.Parameter(ours.detach().clone())
    optimizer, plain = TableAdam(ours, STEPS, rate_at, BETAS, EPS), whole_table_adam(theirs)
    untouched = theirs.detach()[ROWS - 5 :].clone()
    for step in range(STEPS):
        rows = torch.randint(ROWS - 5 if step % 7 == 0 else 5, (6, 2), generator=rng)
        weights, target = torch.rand(6, 2, dtype=dtype, generator=rng), torch.randn(6, 3, dtype=dtype, generator=rng)
        loss = (optimizer.read(rows, weights) - target).square().sum()
        loss.backward()
        optimizer.step()
        plain.param_groups[0]["lr"] = rate_at(step)
        plain.zero_grad(set_to_none=False)
        expected = ((theirs[rows] * weights[..., None]).sum(dim=1) - target).square().sum()
        expected.backward()
        plain.step()
        torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    optimizer.finish()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=tolerance, atol=tolerance)
    assert ours.detach()[ROWS - 5 :].equal(untouched)


def test_a_row_that_is_left_alone_goes_on_by_its_momentum():
    """By hand: one gradient of 1, so m = 0.1 and v = 0.01; then two steps of decay, at a rate of one."""
    table = torch.nn.Parameter(torch.zeros(2, 1))
    optimizer = TableAdam(table, 3, lambda step: 1.0, BETAS, EPS)
    for row in (0, 1, 1):
        optimizer.read(torch.tensor([[row]]), torch.ones(1, 1)).sum().backward()
        optimizer.step()
    optimizer.finish()
    first, second = (lambda n: 0.1 * 0.9**n / (1 - 0.9 ** (n + 1))), (lambda n: 0.01 * 0.99**n / (1 - 0.99 ** (n + 1)))
    expected = -sum(first(n) / second(n) ** 0.5 for n in range(3))
    assert float(table.detach()[0]) == pytest.approx(expected, rel=1e-5)
