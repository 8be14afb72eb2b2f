"""The trained head of retrieval: loss, memory, start, training; the classes that train it are not searched."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from PIL import Image
from torch.nn.functional import normalize

import dvt
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.retrieval import HeadKind, Pooling, RetrievalConfig, RetrievalHeadConfig
from dvt.evaluation.datasets.class_folders import find_class_folders, split_classes
from dvt.evaluation.probes.image_ranking import koleo, rank
from dvt.evaluation.probes.retrieval_head import (
    CrossBatchMemory,
    contrastive_loss,
    first_weight,
    koleo_loss,
    train_head,
)
from dvt.evaluation.table import markdown
from dvt.evaluation.tasks.retrieval import Retrieval
from dvt.methods.method import OnePass

COLOURS = {
    "blue": (40, 60, 200), "cyan": (40, 200, 200), "green": (60, 180, 60),
    "grey": (128, 128, 128), "pink": (230, 120, 180), "red": (200, 50, 40),
}  # fmt: skip


def write_classes(root, count, start=0):
    """PNGs of every colour, noisy."""
    for index, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng(start + 100 * index + number)
            noisy = np.array(colour) + rng.integers(-60, 61, 3) + rng.integers(-9, 10, (32, 32, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def write_split(root):
    write_classes(root / "train", 5)
    write_classes(root / "val", 3, start=5000)
    return root


def head_config(**options):
    return RetrievalHeadConfig(**({"kind": HeadKind.linear, "batch_size": 4, "num_steps": 3} | options))


def retrieval(root, head, **options):
    return Retrieval(RetrievalConfig(num_neighbours=4, image_size=32, head=head, **options), root)


def loss_by_loops(similarities, alike, other, margin):
    total = 0.0
    for row, same, real in zip(similarities.tolist(), alike.tolist(), other.tolist(), strict=True):
        pairs = [(s, positive) for s, positive, used in zip(row, same, real, strict=True) if used]
        pulled = [1 - s for s, positive in pairs if positive]
        pushed = [s - margin for s, positive in pairs if not positive and s > margin]
        total += sum(pulled) / max(1, len(pulled)) + sum(pushed) / max(1, len(pushed))
    return total / len(similarities)


def test_the_loss_by_hand():
    """Positives 0.9, 0.5; negatives 0.7, 0.6 inside the margin, 0.4 outside; the last column is the image itself."""
    similarities = torch.tensor([[0.9, 0.5, 0.7, 0.6, 0.4, 1.0]], requires_grad=True)
    alike = torch.tensor([[True, True, False, False, False, True]])
    other = torch.tensor([[True, True, True, True, True, False]])
    loss = contrastive_loss(similarities, alike, other, 0.5)
    assert float(loss.detach()) == pytest.approx((0.1 + 0.5) / 2 + (0.2 + 0.1) / 2)
    loss.backward()
    torch.testing.assert_close(similarities.grad, torch.tensor([[-0.5, -0.5, 0.5, 0.5, 0.0, 0.0]]))
    nothing = contrastive_loss(torch.tensor([[0.3]]), torch.tensor([[False]]), torch.tensor([[True]]), 0.5)
    assert float(nothing) == 0.0


def test_the_loss_agrees_with_loops():
    generator = torch.Generator().manual_seed(0)
    similarities = torch.rand(7, 30, generator=generator, dtype=torch.float64) * 2 - 1
    alike, other = (torch.rand(7, 30, generator=generator) < share for share in (0.3, 0.9))
    for margin in (-0.2, 0.0, 0.5):
        found = contrastive_loss(similarities, alike, other, margin)
        assert float(found) == pytest.approx(loss_by_loops(similarities, alike, other, margin), abs=1e-12)


def test_memory_is_first_in_first_out_and_without_gradients():
    memory = CrossBatchMemory(4, dimensions=2)
    rows = torch.arange(10, dtype=torch.float64).view(5, 2).requires_grad_()
    memory.push(rows[:3], torch.tensor([0, 1, 2]), torch.tensor([10, 11, 12]))
    assert memory.images.tolist() == [10, 11, 12]
    memory.push(rows[3:], torch.tensor([3, 4]), torch.tensor([13, 14]))
    assert memory.images.tolist() == [11, 12, 13, 14] and memory.labels.tolist() == [1, 2, 3, 4]
    assert torch.equal(memory.descriptors, rows[1:].detach()) and not memory.descriptors.requires_grad
    memory.push(torch.zeros(6, 2, dtype=torch.float64), torch.arange(6), torch.arange(20, 26))
    assert memory.images.tolist() == [22, 23, 24, 25], "a batch larger than the memory"
    nothing = CrossBatchMemory(0, dimensions=2)
    nothing.push(rows[:3], torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2]))
    assert nothing.descriptors.shape == (0, 2) and len(nothing.labels) == len(nothing.images) == 0


def test_koleo_in_the_loss_is_that_of_the_table():
    vectors = normalize(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    assert float(koleo_loss(vectors)) == pytest.approx(koleo(vectors)[0])
    copies = torch.cat([vectors, vectors[:2]]).requires_grad_()
    loss = koleo_loss(copies)
    assert float(loss.detach()) == pytest.approx(koleo(copies.detach())[0])
    loss.backward()
    assert copies.grad.isfinite().all() and (copies.grad[2:9].norm(dim=1) > 0).all()
    assert float(koleo_loss(vectors[:1].expand(3, 3))) == 0.0


def test_koleo_pushes_the_nearest_apart():
    degrees = torch.tensor([0.0, 10.0, 120.0], dtype=torch.float64).deg2rad()
    points = torch.stack([degrees.cos(), degrees.sin()], dim=1).requires_grad_()
    koleo_loss(points).backward()
    moved = normalize(points.detach() - 0.01 * points.grad, dim=1)
    assert float(moved[0] @ moved[1]) < float((points[0] @ points[1]).detach())


def planted(num_classes, per_class, seed):
    """Classes in 4 directions of small variance, 4 others of large variance say nothing; all classes alike."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    centres = 0.5 * normalize(torch.randn(num_classes, 4, generator=generator), dim=1)
    noise = torch.randn(len(labels), 8, generator=generator)
    return torch.cat([centres[labels] + 0.1 * noise[:, :4], 2 * noise[:, 4:]], dim=1).double(), labels


def mean_average_precision(vectors, labels):
    vectors = normalize(vectors, dim=1)
    own = torch.arange(len(labels))
    return float(
        rank(vectors, labels, vectors, labels, num_neighbours=5, temperature=None, own=own).average_precision.mean()
    )


def test_a_head_finds_unseen_classes_in_directions_of_small_variance():
    (training, labels), (tested, classes) = planted(12, 10, seed=0), planted(6, 10, seed=1)
    config = head_config(num_steps=80, batch_size=64, learning_rate=0.05, koleo_weight=0)
    head = train_head(training, labels, config, seed=0)
    before, after = mean_average_precision(tested, classes), mean_average_precision(head(tested), classes)
    assert before < 0.3 and after > 0.7  # 0.86 with the four directions alone
    axes = train_head(training, labels, head_config(num_steps=0, dimensions=4), seed=0)
    assert mean_average_precision(axes(tested), classes) < before, "those of large variance say nothing"


@pytest.mark.parametrize("dimensions", [2, 5])
def test_principal_axes_are_those_of_scipy(dimensions):
    vectors = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([3, 2, 1, 1, 0.5])
    weight = first_weight(vectors, dimensions)
    unit = normalize(vectors, dim=1).numpy()
    axes = np.linalg.eigh(unit.T @ unit)[1][:, -dimensions:]
    np.testing.assert_allclose(weight.T @ weight, axes @ axes.T, atol=1e-9)
    if dimensions == 5:
        turned = normalize(vectors @ weight.T, dim=1).numpy()
        np.testing.assert_allclose(turned @ turned.T, unit @ unit.T, atol=1e-9)


def test_too_many_dimensions_are_refused():
    with pytest.raises(EvaluationError, match=r"head\.dimensions=6, but 9 images with 5 channels.*Give at most 5"):
        first_weight(torch.randn(9, 5).double(), 6)
    with pytest.raises(EvaluationError, match=r"Give at most 3"):
        first_weight(torch.randn(3, 5).double(), 4)


def test_the_seed_decides_and_nothing_else_does():
    vectors, labels = planted(4, 5, seed=0)
    first = train_head(vectors, labels, head_config(), seed=0).weight
    torch.manual_seed(99)
    assert torch.equal(first, train_head(vectors, labels, head_config(), seed=0).weight)
    assert not torch.equal(first, train_head(vectors, labels, head_config(), seed=1).weight)
    assert not first.requires_grad


def train_by_loops(vectors, labels, config, seed):
    """Three lists for the memory, every pair on its own."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.eye(vectors.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], weight_decay=config.weight_decay)
    held = []
    for step in range(config.num_steps):
        batch = torch.randperm(len(vectors), generator=generator)[: config.batch_size].tolist()
        found = {number: weight @ vectors[number] / (weight @ vectors[number]).norm() for number in batch}
        loss = torch.zeros((), dtype=torch.float64)
        for one, z in found.items():
            pairs = [(labels[one] == labels[other], z @ w) for other, w in [*found.items(), *held] if other != one]
            pulled = [1 - s for same, s in pairs if same]
            pushed = [s - config.margin for same, s in pairs if not same and s > config.margin]
            loss = loss + sum(pulled) / max(1, len(pulled)) + sum(pushed) / max(1, len(pushed))
            nearest = min((z - w).norm() for other, w in found.items() if other != one)
            loss = loss - config.koleo_weight * nearest.log()
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.num_steps)
        optimizer.zero_grad()
        (loss / len(batch)).backward()
        optimizer.step()
        held = [*held, *((number, z.detach()) for number, z in found.items())][-config.memory :]
    return weight.detach()


def test_training_agrees_with_loops():
    """Ten images in batches of six: the memory of nine holds images of the batch, and drops old ones."""
    vectors, labels = planted(3, 4, seed=0)
    config = head_config(batch_size=6, memory=9, num_steps=4, learning_rate=0.05, margin=-0.2)
    expected = train_by_loops(vectors[:10], labels[:10], config, seed=3)
    torch.testing.assert_close(train_head(vectors[:10], labels[:10], config, seed=3).weight, expected)


def test_the_memory_takes_part_from_the_second_step_on():
    vectors, labels = planted(4, 5, seed=0)

    def weight(steps, memory):
        return train_head(vectors, labels, head_config(num_steps=steps, memory=memory), seed=0).weight

    assert torch.equal(weight(1, 0), weight(1, 16)) and not torch.equal(weight(2, 0), weight(2, 16))


@pytest.mark.parametrize(
    "option", [{"margin": -0.5}, {"koleo_weight": 0.0}, {"weight_decay": 10.0}, {"learning_rate": 0.1}]
)
def test_every_option_of_the_training_has_an_effect(option):
    vectors, labels = planted(4, 5, seed=0)
    base, changed = (train_head(vectors, labels, head_config(**each), seed=0).weight for each in ({}, option))
    assert not torch.equal(base, changed)


def test_a_diverged_head_is_refused():
    with pytest.raises(EvaluationError, match=r"diverged with head\.learning_rate=1e\+308"):
        train_head(*planted(4, 5, seed=0), head_config(learning_rate=1e308), seed=0)


def test_a_head_without_steps_has_the_scores_without_a_head(tmp_path):
    """Those of the same images, and those of a folder that has only the classes that are tested."""
    write_split(tmp_path)
    found = retrieval(tmp_path, head_config(num_steps=0), pooling=[*Pooling]).evaluate(MeanColours()).values
    for name in COLOURS:
        if name in split_classes([*COLOURS], 0.5):
            for side in ("train", "val"):
                (tmp_path / side / name).rename(tmp_path / f"{side} {name}")
    today = retrieval(tmp_path, RetrievalHeadConfig(), pooling=[*Pooling]).evaluate(MeanColours()).values
    assert len(today) == 18 and len(found) == 36
    for name, value in today.items():
        assert found[f"{name} head"] == found[name] * 3, name
        assert found[name] == pytest.approx(value, rel=1e-5), name  # other batches: other roundings of the features
    assert today["mAP mean"][0] < 100, "a task that all solve would compare nothing"


@pytest.mark.parametrize("one_folder", [False, True])
def test_no_image_of_a_training_class_is_searched(tmp_path, one_folder):
    root = write_classes(tmp_path, 4) if one_folder else write_split(tmp_path)
    found = find_class_folders(RetrievalConfig(head=head_config(classes=0.34, num_train=5)), root)
    assert found.training_names == ("blue", "grey")
    assert [each.label for each in found.training] == [0, 0, 1, 1, 1]
    assert {each.path.parent.name for each in found.training} == {"blue", "grey"}
    assert all(one_folder or "train" in each.path.parts for each in found.training)
    for searched in (found.database, () if one_folder else found.queries):
        assert all(each.path.parent.name == found.class_names[each.label] for each in searched)
        assert not {each.path.parent.name for each in searched} & set(found.training_names)
    assert found.class_names == ("cyan", "green", "pink", "red") and found.notes == ()


def test_images_are_seen_once_and_the_protocol_is_told(tmp_path):
    task, method = retrieval(write_split(tmp_path), head_config(), pooling=[Pooling.mean]), MeanColours()
    result = dvt.evaluate(task, [method], tmp_path)
    scores = result.rows["raw"].scores
    assert sum(method.seen) == 15 + 15 + 9
    assert [metric.name for metric in result.metrics] == list(scores.values)
    assert result.metrics[0].name == "top-1 mean head"
    assert len(scores.values["mAP mean head"]) == 3 and len(scores.values["mAP mean"]) == 1
    assert scores.details["classes that train the head"] == ["blue", "green", "pink"]
    assert set(scores.details["top-1 by class"]) == {"mean head", "mean"}
    text = markdown(result)
    assert "head linear, from the identity, on frozen features" in text
    assert "head trained on 15 images of 3 classes that are not searched (blue, green, pink)" in text
    narrow = retrieval(tmp_path, head_config(dimensions=2)).protocol
    assert narrow["head"] == "linear, to 2 dimensions, from principal axes, on frozen features"
    assert (narrow["classes"], narrow["queries"], narrow["database"]) == (3, 9, 15)
    assert not any("head" in key for key in retrieval(tmp_path, RetrievalHeadConfig()).protocol)


def test_a_missing_class_token_has_no_value_with_a_head_either(tmp_path):
    scores = retrieval(write_split(tmp_path), head_config()).evaluate(
        MeanColours(give=lambda found: replace(found, prefix=found.prefix[:, :0]))
    )
    assert math.isfinite(scores.values["mAP mean head"][2])
    assert math.isnan(scores.values["mAP class token head"][0]) and math.isnan(scores.values["mAP class token"][0])


def test_a_real_vit_goes_through(tmp_path):
    backbone = dvt.load_backbone("vit_micro", device="cpu")
    task = retrieval(write_split(tmp_path), head_config(seeds=2, dimensions=8))
    first, second = (task.evaluate(OnePass("raw", backbone)) for _ in range(2))
    assert first == second and all(math.isfinite(value) for values in first.values.values() for value in values)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_steps": 10}, r"head\.num_steps=10 has no effect with head\.kind=none: give head\.kind=linear"),
        ({"kind": HeadKind.linear, "dimensions": 1}, r"head\.dimensions=1: give at least 2"),
        ({"kind": HeadKind.linear, "classes": 1.0}, r"head\.classes=1\.0: give a number below 1"),
        ({"kind": HeadKind.linear, "classes": 0.0}, r"head\.classes=0\.0"),
        ({"kind": HeadKind.linear, "margin": 1.0}, r"head\.margin=1\.0: give a number below 1"),
        ({"kind": HeadKind.linear, "koleo_weight": math.nan}, r"head\.koleo_weight=nan"),
        ({"kind": HeadKind.linear, "memory": -1}, r"head\.memory=-1"),
        ({"kind": HeadKind.linear, "batch_size": 1}, r"head\.batch_size=1: give at least 2"),
        ({"kind": HeadKind.linear, "seeds": 0}, r"head\.seeds=0"),
    ],
)
def test_invalid_options_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        RetrievalHeadConfig(**options)


def test_data_without_enough_for_a_head_are_refused(tmp_path):
    write_split(tmp_path)
    with pytest.raises(EvaluationError, match=r"head\.batch_size=64, but 15 images train the head\. Give at most 15"):
        retrieval(tmp_path, head_config(batch_size=64))
    with pytest.raises(EvaluationError, match=r"3 images of 3 classes train the head: at least two have to be of one"):
        retrieval(tmp_path, head_config(batch_size=2, num_train=3))
    with pytest.raises(EvaluationError, match=r"head\.num_train=16, but there are 15 images in 3 classes"):
        retrieval(tmp_path, head_config(num_train=16))
    with pytest.raises(EvaluationError, match=r"head\.classes=0\.9 of 6 classes: 5 would train the head, 1 would be"):
        retrieval(tmp_path, head_config(classes=0.9))
