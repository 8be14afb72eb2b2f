"""Student: the ViT that learns, and which of its parameters do."""

import pytest
import torch

from dvt.backbone.weights import state_hash
from dvt.distillation.config import StudentConfig
from dvt.distillation.student import Student, class_token_weight
from dvt.errors import ConfigError
from dvt.losses import feature_distance

FAMILIES = (
    "vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "eva02_base_patch16_clip_224",
    "vit_base_patch16_siglip_512.v2_webli", "deit3_small_patch16_224", "vit_base_patch16_clip_224.laion2b",
)  # fmt: skip


@pytest.fixture
def batch_for():
    """batch_for(backbone) -> two of its size."""
    return lambda backbone: torch.rand(2, 3, *backbone.grid.image_hw, generator=torch.Generator().manual_seed(3))


def learn(student, batch):
    """The names of the parameters that get a gradient from the loss of the patches."""
    given = student(batch)
    feature_distance(given.patches, torch.randn(given.patches.shape)).backward()
    return {name for name, parameter in student.backbone.vit.named_parameters() if parameter.grad is not None}


def asking(student):
    return {name for name, parameter in student.backbone.vit.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("readout", [{}, {"layer": 0}, {"norm": False}])
@pytest.mark.parametrize("trained_blocks", [0, 1])
def test_exactly_what_is_trained_gets_a_gradient(family, readout, trained_blocks, make_backbone, batch_for):
    """Processes that train together wait for the gradient of every parameter that asks for one."""
    backbone = make_backbone(family, **readout)
    student = Student(backbone, StudentConfig(trained_blocks=trained_blocks))
    trained = asking(student)
    assert trained and learn(student, batch_for(backbone)) == trained
    read = {f"blocks.{index}." for index in range(backbone.layer + 1)}
    inside = {name for name in trained if name.startswith("blocks.")}
    assert all(name.startswith(tuple(read)) for name in inside)
    assert any(name.startswith("norm.") for name in trained) == backbone.norm
    assert any(name.startswith("patch_embed.") for name in trained) == (trained_blocks == 0)


def test_it_begins_as_the_vit_and_leaves_it_alone(make_backbone, batch_for):
    backbone = make_backbone()
    before = state_hash(backbone.vit)
    student = Student(backbone, StudentConfig()).train()
    given, raw = student(batch_for(backbone)), backbone(batch_for(backbone))
    assert torch.equal(given.patches, raw.patches) and torch.equal(given.prefix, raw.prefix)
    assert given.grid == raw.grid
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert state_hash(backbone.vit) == before
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_the_last_blocks_are_counted_back_from_the_layer(make_backbone):
    def numbers(layer, count):
        student = Student(make_backbone(depth=5, layer=layer), StudentConfig(trained_blocks=count))
        return {int(name.split(".")[1]) for name in asking(student) if name.startswith("blocks.")}

    assert numbers(-1, 2) == {3, 4}
    assert numbers(2, 2) == {1, 2}
    assert numbers(2, 3) == numbers(2, 0) == {0, 1, 2}


def test_more_blocks_than_there_are(make_backbone):
    with pytest.raises(ConfigError, match=r"trained_blocks=2: .* has 1 blocks up to the layer.*Give 1 to 1, or 0"):
        Student(make_backbone(layer=0), StudentConfig(trained_blocks=2))
    with pytest.raises(ConfigError, match="trained_blocks=-1"):
        StudentConfig(trained_blocks=-1)


def test_half_precision_is_refused(make_backbone):
    with pytest.raises(ConfigError, match=r"weights in bf16: load the ViT in fp32.*trainer.precision=bf16-mixed"):
        Student(make_backbone(precision="bf16"), StudentConfig())


def test_the_class_token_counts_where_there_is_one(make_backbone):
    with_one, without = make_backbone(), make_backbone("vit_base_patch16_siglip_512.v2_webli")
    assert class_token_weight(with_one, StudentConfig()) == 0.1
    assert class_token_weight(with_one, StudentConfig(class_token_weight=0)) == 0
    assert class_token_weight(with_one, StudentConfig(class_token_weight=0.1)) == 0.1
    assert class_token_weight(without, StudentConfig()) == 0
    assert class_token_weight(without, StudentConfig(class_token_weight=0)) == 0
    with pytest.raises(ConfigError, match=r"class_token_weight=0.5: .* has no class token. Leave it out"):
        class_token_weight(without, StudentConfig(class_token_weight=0.5))
    with pytest.raises(ConfigError, match="class_token_weight=-1"):
        StudentConfig(class_token_weight=-1)


def test_checkpointing_is_for_the_student_alone_and_changes_no_gradient(make_backbone, batch_for):
    backbone = make_backbone()
    gradients = []
    for saves in (False, True):
        student = Student(backbone, StudentConfig(gradient_checkpointing=saves))
        assert student.backbone.vit.grad_checkpointing is saves
        student(batch_for(backbone)).patches.square().mean().backward()
        gradients.append([parameter.grad for parameter in student.parameters()])
    assert not backbone.vit.grad_checkpointing
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_what_was_not_trained_is_published_as_it_was(make_backbone):
    backbone = make_backbone()
    student = Student(backbone, StudentConfig(trained_blocks=1))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)  # also what stands still, as the rounding of a moving average does
    before, after = backbone.vit.state_dict(), student.published_state(backbone)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == asking(student)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("readout", [{}, {"norm": False}])
def test_all_of_a_vit_and_its_linear_layer_learns(family, readout, make_backbone, batch_for):
    backbone = make_backbone(family, **readout)
    student, batch = Student(backbone, StudentConfig(layers="all")), batch_for(backbone)
    assert student.denoiser.config.layers == [0] and student.kind == "denoised"
    assert torch.equal(student(batch).prefix, backbone(batch).prefix)
    assert learn(student, batch) == asking(student)
    assert all(parameter.grad is not None for parameter in student.denoiser.parameters())


def test_the_denoiser_reads_the_blocks_it_is_told_to(make_backbone, batch_for):
    backbone = make_backbone(depth=4)
    student, batch = Student(backbone, StudentConfig(layers=[0, 2])), batch_for(backbone)
    first, third, own = backbone.forward_layers(batch, [0, 2])
    with torch.no_grad():
        student.denoiser.mixing.linear.weight.normal_()
        normed = [torch.nn.functional.layer_norm(each.patches, (64,), eps=1e-6) for each in (first, third)]
        wanted = student.denoiser.mixing.linear(torch.cat([own.patches, *normed], dim=-1))
        torch.testing.assert_close(student(batch).patches, wanted)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"ridge": 0.2}, "is for student.layers=all"), ({"layers": "all", "ridge": 0.0}, "give a number above 0")],
)
def test_a_strength_without_effect_or_sense_is_refused(options, text):
    with pytest.raises(ConfigError, match=rf"student.ridge=0..*{text}"):
        StudentConfig(**options)


@pytest.mark.parametrize(("layers", "text"), [([1], "give blocks before block 1"), ([1, 0], "ascending"), ("some", "")])
def test_blocks_that_do_not_exist_are_refused(layers, text, make_backbone):
    with pytest.raises(ConfigError, match=rf"student.layers=.*{text}"):
        Student(make_backbone(), StudentConfig(layers=layers))
