"""How well position can be read off tokens, and the sample that it is read off."""

import pytest
import torch

from dvt.diagnosis.probe import RIDGE, TokenSample, position_r2

HW = (6, 9)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def sample_of(maps, max_tokens=100_000):
    sample = TokenSample(len(maps), max_tokens=max_tokens)
    for numbers in torch.arange(len(maps)).split(5):
        sample.update(maps[numbers], numbers.tolist())
    return sample


def with_place(count, rng, x=1.0, y=1.0, noise=0.1, channels=12):
    """Features in which column and row are written, mixed into all channels."""
    hidden = noise * torch.randn(count, *HW, channels, generator=rng)
    hidden[..., 0] += x * torch.linspace(-1, 1, HW[1])
    hidden[..., 1] += y * torch.linspace(-1, 1, HW[0])[:, None]
    return 5 + hidden @ torch.randn(channels, channels, generator=rng)


def test_place_that_is_written_can_be_read(rng):
    found = position_r2(sample_of(with_place(20, rng)))
    assert found.x > 0.95 and found.y > 0.95 and found.value == (found.x + found.y) / 2
    assert float(found.map.mean()) == pytest.approx(found.value, abs=0.01)


def test_each_axis_by_itself(rng):
    found = position_r2(sample_of(with_place(20, rng, y=0.0)))
    assert found.x > 0.95 and abs(found.y) < 0.1


def test_noise_tells_nothing_even_with_as_many_channels_as_tokens(rng):
    maps = torch.randn(8, *HW, 300, generator=rng)
    assert position_r2(sample_of(maps)).value < 0.1  # the probe fits its own images perfectly


def test_what_only_its_own_image_tells_does_not_count(rng):
    """Every image writes the place in a direction of its own: no probe helps on another image."""
    place = torch.linspace(-1, 1, HW[1]).expand(HW)[None, ..., None]
    maps = torch.randn(40, 1, 1, 12, generator=rng) * place + 0.01 * torch.randn(40, *HW, 12, generator=rng)
    assert position_r2(sample_of(maps)).value < 0.2


def test_a_known_amount_of_noise(rng):
    """Signal of variance s among noise of variance n: R^2 is s / (s + n)."""
    column = torch.linspace(-1, 1, HW[1])
    maps = torch.zeros(200, *HW, 2)
    maps[..., 0] = column + torch.randn(200, *HW, generator=rng) * column.std(correction=0)
    found = position_r2(sample_of(maps))
    assert found.x == pytest.approx(0.5, abs=0.02) and found.y == pytest.approx(0.0, abs=0.01)


def test_agrees_with_scikit_learn(rng):
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    maps = with_place(20, rng, noise=1.0)
    sample = sample_of(maps)
    tokens, places = sample.tokens.double().numpy(), sample.rows_columns.double().numpy()
    num_train = len(tokens) * 3 / 4
    probe = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE * num_train))
    blocks = sample.images.numpy() // 5  # four blocks of five images
    guess = cross_val_predict(probe, tokens, places, groups=blocks, cv=GroupKFold(4))
    found = position_r2(sample)
    assert found.y == pytest.approx(r2_score(places[:, 0], guess[:, 0]), abs=1e-4)
    assert found.x == pytest.approx(r2_score(places[:, 1], guess[:, 1]), abs=1e-4)


def test_a_constant_channel_says_nothing(rng):
    maps = with_place(12, rng)
    more = torch.cat([maps, torch.full((*maps.shape[:3], 1), 7.0)], dim=-1)
    assert position_r2(sample_of(more)).value == pytest.approx(position_r2(sample_of(maps)).value, abs=1e-6)


def test_the_sample_is_even_and_knows_where_from(rng):
    maps = torch.arange(HW[0] * HW[1]).reshape(1, *HW, 1) + 1000.0 * torch.arange(30)[:, None, None, None]
    sample = sample_of(maps.float(), max_tokens=300)
    assert sample.tokens.shape == (300, 1) and sample.hw == HW
    assert torch.bincount(sample.images).tolist() == [10] * 30
    rows, columns = sample.rows_columns.T
    expected = 1000 * sample.images + rows * HW[1] + columns
    assert (sample.tokens[:, 0] == expected).all() and len(expected.unique()) == 300


def test_patches_without_a_token_have_no_value(rng):
    found = position_r2(sample_of(with_place(4, rng), max_tokens=40))
    assert found.map.isnan().any() and found.map.isfinite().any()
