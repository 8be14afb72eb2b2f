"""LOST and TokenCut: against the definitions written out, and on maps with a planted object."""

import numpy as np
import pytest
import torch
from scipy import linalg

from dvt.errors import EvaluationError
from dvt.evaluation.config.objects import Algorithm, ObjectsConfig, SeedRule
from dvt.evaluation.probes import lost_tokencut
from dvt.evaluation.probes.lost_tokencut import second_eigenvector

HW = (10, 14)
BLOCK = (slice(3, 7), slice(4, 9))


def lost(patches, **options):
    return lost_tokencut.lost(patches, ObjectsConfig(algorithm=Algorithm.lost, **options))


def tokencut(patches, **options):
    return lost_tokencut.tokencut(patches, ObjectsConfig(algorithm=Algorithm.tokencut, **options))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(seed=0):
    """A varied background with a block of similar features: its direction is its own, and all share a mean."""
    patches = 0.2 * noise(*HW, 32, seed=seed)
    patches[..., 0] += 2.0
    patches[BLOCK][..., 0] -= 2.0
    patches[BLOCK][..., 1] += 4.0
    patches[..., 2] += 5.0
    truth = torch.zeros(HW, dtype=torch.bool)
    truth[BLOCK] = True
    return patches, truth


def connected(positive, seed):
    """Flood fill, neighbours share an edge."""
    height, width = positive.shape
    found, waiting = np.zeros_like(positive), [divmod(seed, width)]
    while waiting:
        row, column = waiting.pop()
        if 0 <= row < height and 0 <= column < width and positive[row, column] and not found[row, column]:
            found[row, column] = True
            waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return found


def lost_by_definition(patches, centre, by_norm, k):
    tokens = patches.double().numpy().reshape(-1, patches.shape[-1])
    norms = [float(np.sqrt((token**2).sum())) for token in tokens]
    if centre:
        tokens = tokens - tokens.mean(axis=0)
    count = len(tokens)
    product = [[float(one @ other) for other in tokens] for one in tokens]
    degree = [sum(value > 0 for value in row) for row in product]
    rank = sorted(range(count), key=lambda n: (-norms[n] if by_norm else degree[n], n))
    seed = rank[0]
    similar = [n for n in rank[:k] if product[seed][n] > 0]
    strength = np.array([sum(product[s][n] for s in similar) for n in range(count)]).reshape(patches.shape[:2])
    return connected(strength > 0, seed), strength


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("seed", list(SeedRule))
@pytest.mark.parametrize("number", range(2))
def test_lost_is_its_definition(centre, seed, number):
    patches = noise(*HW, 5, seed=number) + 0.3
    mask, strength = lost_by_definition(patches, centre, seed is SeedRule.norm, 17)
    found = lost(patches, centre=centre, seed=seed, num_candidates=17)
    np.testing.assert_array_equal(found.mask.numpy(), mask)
    scaled = (strength - strength.min()) / (strength.max() - strength.min())
    np.testing.assert_allclose(found.soft.numpy(), scaled, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
def test_lost_and_tokencut_find_a_planted_object(number):
    patches, truth = planted(seed=number)
    assert torch.equal(lost(patches).mask, truth)
    for centre in (True, False):
        found = tokencut(patches, centre=centre, tau=0.2 if centre else 0.9)
        assert torch.equal(found.mask, truth)
        assert found.soft[truth].min() > found.soft[~truth].max()


def test_without_centring_lost_takes_every_patch_that_shares_the_mean():
    patches, _ = planted()
    assert lost(patches, centre=False).mask.all()


def test_lost_by_norm_starts_from_the_largest_features():
    patches = torch.full((*HW, 2), 0.01)
    patches[..., 1] = -1
    patches[2:4, 2:4] = torch.tensor([1.0, 0.0])
    patches[7:9, 8:10] = torch.tensor([9.0, 0.0])
    patches[3, 3] = torch.tensor([0.5, 0.1])
    found = lost(patches, seed=SeedRule.norm, num_candidates=3)
    assert found.mask.nonzero().tolist() == [[7, 8], [7, 9], [8, 8], [8, 9]]


def test_only_the_part_connected_to_the_seed_is_the_object():
    patches, truth = planted()
    patches[9, 12] = patches[BLOCK].mean(dim=(0, 1))
    assert torch.equal(lost(patches).mask, truth)
    assert torch.equal(tokencut(patches, tau=0.9).mask, truth)


@pytest.mark.parametrize("algorithm", [lost, tokencut])
@pytest.mark.parametrize("centre", [True, False])
def test_constant_features_have_no_object(algorithm, centre):
    found = algorithm((torch.ones(*HW, 1) * noise(7)), centre=centre)
    if algorithm is lost and not centre:
        assert found.mask.all()  # every patch resembles every other: the object is the whole image
    else:
        assert found.is_empty and not found.soft.any()


def graph(number, tau=0.3, eps=1e-5):
    tokens = torch.nn.functional.normalize(noise(60, 6, seed=number), dim=1)
    return torch.where(tokens @ tokens.T >= tau, 1.0, eps).double().numpy()


@pytest.mark.parametrize("number", range(4))
def test_the_eigenvector_is_that_of_the_generalised_problem(number):
    weights = graph(number)
    degrees = np.diag(weights.sum(axis=1))
    _, vectors = linalg.eigh(degrees - weights, degrees)
    expected, found = vectors[:, 1], second_eigenvector(weights.copy()).numpy()
    found = found / np.sqrt(found @ degrees @ found)
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-9)


@pytest.mark.parametrize("number", range(4))
def test_tokencut_is_its_definition(number):
    patches = noise(*HW, 8, seed=number)
    tokens = patches.double().numpy().reshape(-1, 8)
    tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    weights = np.where(tokens @ tokens.T >= 0.2, 1.0, 1e-5)
    degrees = np.diag(weights.sum(axis=1))
    vector = linalg.eigh(degrees - weights, degrees)[1][:, 1]
    seed = int(np.abs(vector).argmax())
    vector = -vector if vector[seed] < vector.mean() else vector
    expected = connected((vector > vector.mean()).reshape(HW), seed)
    np.testing.assert_array_equal(tokencut(patches).mask.numpy(), expected)


def test_the_smaller_of_two_cliques_is_the_object():
    sizes = (5, 15)
    weights = linalg.block_diag(*(np.ones((size, size)) for size in sizes))
    weights[weights == 0] = 1e-5
    vector = second_eigenvector(weights)
    assert len({float(entry.sign()) for entry in vector[:5]}) == 1
    assert (vector[:5].sign() == -vector[5:].sign()[0]).all()
    assert vector[:5].abs().min() > vector[5:].abs().max()


def test_the_same_map_gives_the_same_cut():
    patches = noise(*HW, 8)
    first, second = tokencut(patches), tokencut(patches)
    assert torch.equal(first.soft, second.soft) and torch.equal(first.mask, second.mask)


def test_tokencut_refuses_a_graph_that_fills_the_memory(monkeypatch):
    monkeypatch.setattr(lost_tokencut, "MAX_PATCHES", 100)
    with pytest.raises(EvaluationError, match="10 x 14 patches needs a graph of 140 nodes; 100 is the most"):
        tokencut(noise(*HW, 4))


def test_the_degrees_of_many_patches_are_counted_in_parts(monkeypatch):
    patches = noise(*HW, 5)
    whole = lost(patches)
    monkeypatch.setattr(lost_tokencut, "_ROWS", 7)
    assert torch.equal(lost(patches).mask, whole.mask)
