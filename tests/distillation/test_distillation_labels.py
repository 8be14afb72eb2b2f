"""Class labels of patches: their loss by hand, its minimum, the classifiers that are taken, and runs."""

from dataclasses import replace

import pytest
import torch
from reporters import ActAt
from safetensors.torch import save_file

from dvt.distillation.config import LabelsConfig, MixingKind, StudentConfig
from dvt.distillation.distill import DistillModule, distill
from dvt.distillation.labels import PatchLabels
from dvt.distillation.mixing import Box, mixed_pass
from dvt.distillation.stored import distill_from_store
from dvt.distillation.student import Student
from dvt.errors import ConfigError, TrainingError, WeightsError
from dvt.losses import feature_distance
from dvt.weights.folder import read_model_folder


def classifier(num_classes=7, num_channels=64):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(num_classes, num_channels, generator=rng), torch.randn(num_classes, generator=rng)


@pytest.fixture
def file(tmp_path):
    """file(head.weight=..., ...) -> a safetensors file of these tensors; of weight and bias where none are given."""

    def make(channels=64, **tensors):
        weight, bias = classifier(num_channels=channels)
        save_file(tensors or {"weight": weight, "bias": bias}, tmp_path / "classifier.safetensors")
        return str(tmp_path / "classifier.safetensors")

    return make


def entropy_by_hand(clean, given, weight, bias, top):
    """Of one patch."""
    q, p = ((weight @ patch + bias).softmax(dim=0) for patch in (clean, given))
    first = q.argsort(descending=True)[:top].tolist()
    loss = -sum(q[k] * p[k].log() for k in first)
    rest = [k for k in range(len(bias)) if k not in first]
    return loss - (q[rest].sum() * p[rest].sum().log() if rest else 0)


@pytest.mark.parametrize("top", [1, 3, 7])
def test_the_loss_by_hand(top):
    (weight, bias), given, clean = classifier(num_channels=5), torch.randn(2, 1, 2, 5), torch.randn(2, 1, 2, 5)
    by_hand = torch.tensor(
        [
            [entropy_by_hand(clean[image, 0, place], given[image, 0, place], weight, bias, top) for place in (0, 1)]
            for image in (0, 1)
        ]
    )
    labels = PatchLabels(weight, bias, top)
    torch.testing.assert_close(labels.loss(given, clean), by_hand.mean())
    shares = torch.tensor([[0.25, 1.0]])
    torch.testing.assert_close(labels.loss(given, clean, shares), (by_hand * shares).mean())
    torch.testing.assert_close(labels.loss(given, clean, torch.tensor(0.5)), by_hand.mean() / 2)


@pytest.mark.parametrize("top", [1, 3, 7])
def test_clean_features_are_its_minimum(top):
    """So is all that the classifier takes for the same."""
    (weight, bias), clean = classifier(num_channels=5), torch.randn(2, 4, 4, 5)
    labels = PatchLabels(0.3 * weight, bias, top)

    def gradient(given):
        given = given.clone().requires_grad_(True)
        loss = labels.loss(given, clean)
        loss.backward()
        return float(loss.detach()), float(given.grad.abs().max())

    least, at_least = gradient(clean)
    more, elsewhere = gradient(clean + 0.3 * torch.randn(clean.shape))
    assert at_least < 1e-6 and elsewhere > 1e-4 and more > least


def test_mixed_precision_does_not_round_it():
    (weight, bias), given, clean = classifier(), torch.randn(1, 2, 2, 64), torch.randn(1, 2, 2, 64)
    labels = PatchLabels(weight, bias, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(labels.loss(given, clean), labels.loss(given.clone(), clean))
        mixed = labels.loss(given, clean)
    assert torch.equal(mixed, labels.loss(given, clean))


def test_it_is_added_to_the_distance_of_the_patches(teacher, options, file):
    config = options(labels={"weight": 0.3, "classifier": file(), "top": 2})
    student, images = Student(teacher.backbone, StudentConfig()), torch.rand(4, 3, 64, 64)
    labels = PatchLabels.of(config.labels, teacher.backbone)
    given, wanted = student(images).patches, teacher(images).patches
    loss = DistillModule(student, config, {}, teacher, 0.0, labels=labels).loss({"image": images})
    torch.testing.assert_close(loss, feature_distance(given, wanted) + 0.3 * labels.loss(given, wanted))
    loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters() if parameter.requires_grad)


def test_of_mixed_images_each_patch_has_the_labels_of_its_image(teacher, options, file):
    config = options(labels={"weight": 0.3, "classifier": file()}, mixing={"kind": MixingKind.mixtoken})
    student, images = Student(teacher.backbone, StudentConfig()), torch.rand(4, 3, 64, 64)
    labels, clean, box = PatchLabels.of(config.labels, teacher.backbone), torch.randn(4, 4, 4, 64), Box(0, 1, 2, 3)
    target = clean.clone()
    target[:, 0:2, 1:4] = clean.flip(0)[:, 0:2, 1:4]
    given, _ = mixed_pass(student, images, box, MixingKind.mixtoken)
    module = DistillModule(student, config, {}, teacher, 0.0, labels=labels)
    wanted = feature_distance(given, target) + 0.3 * labels.loss(given, target)
    torch.testing.assert_close(module.mixed_loss(images, clean, box), wanted)


def test_a_run_from_a_store_with_mixed_images_and_labels_can_be_resumed(
    tmp_path, decomposed, images, micro, options, file
):
    labels = {"weight": 3.0, "classifier": file(channels=192)}
    same = {"num_steps": 4, "mixing": {"kind": MixingKind.mixtoken}, "dataset": {"crop_area_min": 0.5}}
    config, store = options(labels=labels, **same), [decomposed(64)]
    distill_from_store(store, images, tmp_path / "whole", config, backbone=micro(64))
    distill_from_store(store, images, tmp_path / "parts", config, backbone=micro(64), reporter=ActAt(2))
    distill_from_store(store, images, tmp_path / "parts", config, backbone=micro(64))
    (whole, info), (parts, _) = (read_model_folder(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    used = PatchLabels.of(config.labels, micro(64))
    assert info.training["labels"] == {"weight": 3.0, "top": 5, "classifier": used.weights_hash}
    weight, bias = classifier(num_channels=192)
    other = options(labels={**labels, "classifier": file(weight=weight, bias=bias + 1)}, **same)
    with pytest.raises(TrainingError, match=r"labels.classifier: .* in the checkpoint"):
        distill_from_store(store, images, tmp_path / "whole", other, backbone=micro(64))


def test_labels_bring_the_student_closer_to_the_classes_of_the_teacher(tmp_path, images, options, teacher, file):
    batch, entropies = torch.stack([teacher.preprocess(image.path) for image in images]), {}
    weight_KC, bias = classifier()
    path = file(weight=0.1 * weight_KC, bias=bias)
    for weight in (0.0, 10.0):
        labels = {"weight": weight, "classifier": path} if weight else {}
        config = options(num_steps=20, batch_size=6, optimizer={"base_learning_rate": 8e-3}, labels=labels)
        run = distill(images, tmp_path / f"{weight}", config, teacher=teacher)
        student = Student(teacher.backbone, StudentConfig())
        student.backbone.vit.load_state_dict(read_model_folder(run.out)[0])
        with torch.no_grad():
            entropies[weight] = PatchLabels(0.1 * weight_KC, bias, 5).loss(
                student(batch).patches, teacher(batch).patches
            )
    assert entropies[10.0] < entropies[0.0]


def test_the_head_in_the_weights_of_a_vit(make_backbone, file):
    weight, bias = classifier()
    backbone = make_backbone()
    path = file(**{"head.weight": weight, "head.bias": bias, "norm.weight": torch.ones(64)})
    named = PatchLabels.of(LabelsConfig(weight=0.1, classifier=path), backbone)
    assert named.weights_hash == PatchLabels(weight, bias, 5).weights_hash and named.top == 5
    with pytest.raises(ConfigError, match="own is for ViTs of timm with pretrained weights"):
        backbone.weights_file = "random"
        PatchLabels.of(LabelsConfig(weight=0.1, classifier="own"), backbone)
    backbone.weights_file = path
    own = PatchLabels.of(LabelsConfig(weight=0.1, classifier="own"), backbone)
    assert own.weights_hash == named.weights_hash
    for readout, text in (({"layer": 0}, "of layer 0 after the norm"), ({"norm": False}, "of layer 1 before the norm")):
        with pytest.raises(ConfigError, match=f"reads its last block after the final norm, .* {text}"):
            PatchLabels.of(LabelsConfig(weight=0.1, classifier=path), make_backbone(**readout))
    assert PatchLabels.of(LabelsConfig(weight=0.1, classifier=file()), make_backbone(layer=0)), "one of these features"


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"weight": torch.ones(7, 63), "bias": torch.ones(7)}, r"weight has shape \(7, 63\) and .*expected \(K, 64\)"),
        ({"weight": torch.ones(7, 64), "bias": torch.ones(6)}, r"bias \(6,\); expected \(K, 64\) and \(K,\)"),
        ({"weight": torch.ones(64), "bias": torch.ones(64)}, r"weight has shape \(64,\)"),
        ({"weight": torch.ones(7, 64)}, r"holds no linear classifier \(its keys: weight\)"),
        ({"norm.weight": torch.ones(64)}, r"holds no linear classifier \(its keys: norm.weight\).*or as head.weight"),
        (
            {"head.weight": torch.ones(7, 64), "head.bias": torch.ones(7), "fc_norm.weight": torch.ones(64)},
            "its head reads pooled features",
        ),
    ],
)
def test_classifiers_that_do_not_fit_are_refused_before_anything_is_made(
    tensors, text, tmp_path, images, options, teacher, file
):
    config = options(labels={"weight": 0.1, "classifier": file(**tensors)})
    with pytest.raises(WeightsError, match=text):
        distill(images, tmp_path / "out", config, teacher=teacher)
    assert not (tmp_path / "out").exists()


def test_more_classes_than_there_are(make_backbone, file):
    config = LabelsConfig(weight=0.1, classifier=file(), top=7)
    assert PatchLabels.of(config, make_backbone()).top == 7
    with pytest.raises(ConfigError, match=r"labels.top=8: the classifier has 7 classes. Give 1 to 7"):
        PatchLabels.of(replace(config, top=8), make_backbone())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"weight": 0.1}, "labels.weight=0.1 needs a classifier"),
        ({"weight": -1.0}, "labels.weight=-1.0: give 0 or more"),
        ({"weight": 0.1, "classifier": "own", "top": 0}, "labels.top=0: give at least 1"),
        ({"classifier": "own"}, "labels.classifier=own needs labels.weight above 0"),
        ({"top": 3}, "labels.top=3 needs labels.weight above 0"),
    ],
)
def test_options_without_effect_or_sense_are_refused(given, text):
    with pytest.raises(ConfigError, match=text):
        LabelsConfig(**given)
