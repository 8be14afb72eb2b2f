"""Confusion against scikit-learn, torchmetrics and by hand; class scores upsampled; what a summary says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    jaccard_score,
    mean_absolute_percentage_error,
    mean_squared_error,
    recall_score,
)
from torchmetrics.functional.classification import multiclass_jaccard_index

from dvt.evaluation.class_scores import summary
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.layouts import metrics_in
from dvt.evaluation.metrics import MIOU, Confusion, depth_errors


def confusion_of(truth, predicted, num_classes):
    confusion = Confusion(num_classes)
    confusion.add(torch.as_tensor(truth), torch.as_tensor(predicted))
    return confusion


def test_a_case_worked_out_by_hand():
    #                    class 0        class 1     class 2  none
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, -1, -1])
    found = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 0, 3])
    confusion = confusion_of(truth, found, 4)
    assert confusion.matrix.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert confusion.iou[:3].tolist() == pytest.approx([3 / 4, 1 / 3, 1 / 3], abs=1e-12)
    assert confusion.class_accuracy[:3].tolist() == pytest.approx([3 / 4, 1 / 2, 1 / 2], abs=1e-12)
    assert math.isnan(confusion.iou[3]) and math.isnan(confusion.class_accuracy[3])
    assert confusion.occurs.tolist() == [True, True, True, False]
    assert confusion.mean_iou == pytest.approx((3 / 4 + 2 / 3) / 3, abs=1e-12)
    assert confusion.mean_accuracy == pytest.approx(7 / 12, abs=1e-12)
    assert confusion.accuracy == pytest.approx(5 / 8, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_means_are_those_of_scikit_learn(data):
    num_classes = data.draw(st.integers(2, 7))
    size = data.draw(st.integers(1, 60))
    truth = torch.tensor(data.draw(st.lists(st.integers(-1, num_classes - 1), min_size=size, max_size=size)))
    found = torch.tensor(data.draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size)))
    known = truth >= 0
    if not known.any():
        return
    confusion = confusion_of(truth, found, num_classes)
    given_, guessed = truth[known].numpy(), found[known].numpy()
    labels = sorted(set(given_.tolist()))
    means = {"labels": labels, "average": "macro", "zero_division": 0}
    assert confusion.mean_iou == pytest.approx(jaccard_score(given_, guessed, **means), abs=1e-6)
    assert confusion.mean_accuracy == pytest.approx(recall_score(given_, guessed, **means), abs=1e-6)
    assert confusion.accuracy == pytest.approx(accuracy_score(given_, guessed), abs=1e-6)


def test_where_every_class_occurs_torchmetrics_agrees():
    rng = torch.Generator().manual_seed(0)
    truth = torch.cat([torch.arange(5), torch.randint(-1, 5, (200,), generator=rng)])
    found = torch.randint(0, 5, (205,), generator=rng)
    known = truth >= 0
    expected = multiclass_jaccard_index(found[known], truth[known], num_classes=5, average="macro")
    assert confusion_of(truth, found, 5).mean_iou == pytest.approx(float(expected), abs=1e-6)


def test_pictures_add_up():
    rng = torch.Generator().manual_seed(0)
    truth, found = torch.randint(-1, 3, (4, 5, 6), generator=rng), torch.randint(0, 3, (4, 5, 6), generator=rng)
    one_by_one = Confusion(3)
    for each, other in zip(truth, found, strict=True):
        one_by_one.add(each, other)
    assert torch.equal(one_by_one.matrix, confusion_of(truth, found, 3).matrix)


def test_nothing_labelled_is_no_number():
    confusion = confusion_of([-1, -1], [0, 1], 2)
    assert all(math.isnan(value) for value in (confusion.mean_iou, confusion.mean_accuracy, confusion.accuracy))


NAMES = ("cat", "dog", "owl")


def test_a_summary_names_the_classes_left_out():
    notes, details = summary("pixels", [confusion_of([0, 0, 1], [0, 1, 1], 3)], frozenset({0, 2}), NAMES)
    left_out, untrained = notes
    assert left_out.startswith("pixels: ") and "left out" in left_out and "owl" in left_out and "cat" not in left_out
    assert "training" in untrained and "dog" in untrained and "cat" not in untrained
    assert details["IoU"] == pytest.approx({"cat": 50.0, "dog": 50.0})


def test_a_summary_without_a_label_says_so():
    notes, details = summary("pixels", [confusion_of([-1], [0], 3)], frozenset({0}), NAMES)
    assert notes == ["pixels: no test label at all, so there is no value."] and details == {"IoU": {}}


def test_a_long_list_of_classes_is_cut():
    names = [f"class {number}" for number in range(150)]
    (note,), _ = summary("pixels", [confusion_of([0], [0], 150)], frozenset({0}), names)
    assert "class 1," in note and "class 13" not in note and "and 137 more" in note


def test_metrics_are_named_after_their_layout():
    names = [metric.name for metric in metrics_in((MIOU,), list(Layout))]
    assert names == ["mIoU", "mIoU crops", "mIoU upside down"] and metrics_in((MIOU,), [Layout.usual]) == (MIOU,)


def test_depth_errors_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    target = rng.uniform(0.5, 5, 1000)
    predicted = target * rng.uniform(0.6, 1.6, 1000)
    found = depth_errors(torch.from_numpy(predicted), torch.from_numpy(target))
    expected = {
        "RMSE": mean_squared_error(target, predicted) ** 0.5,
        "AbsRel": mean_absolute_percentage_error(target, predicted),
        "delta1": 100 * np.mean((predicted / target < 1.25) & (target / predicted < 1.25)),
        "RMSElog": mean_squared_error(np.log(target), np.log(predicted)) ** 0.5,
        "log10": np.abs(np.log10(target) - np.log10(predicted)).mean(),
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_depth_errors_by_hand():
    found = depth_errors(torch.tensor([2.0, 1.0, 4.0, 1.24]), torch.tensor([1.0, 2.0, 4.0, 1.0]))
    assert found["RMSE"] == pytest.approx(math.sqrt((1 + 1 + 0.24**2) / 4))
    assert found["AbsRel"] == pytest.approx((1 + 0.5 + 0.24) / 4)
    assert found["delta1"] == 50  # too far by the same factor above and below
