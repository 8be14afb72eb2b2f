"""MixToken and Un-Mix: which patches are of which image, what they learn, and that a run can be resumed."""

import pytest
import torch
from reporters import ActAt
from torch import nn

import dvt
from dvt.backbone.pruning import drawn_masks
from dvt.distillation.config import MixingConfig, MixingKind, StudentConfig
from dvt.distillation.distill import distill
from dvt.distillation.mixing import Blend, Box, check_mixing, draw_mixture, mixed_pass, own_share_of_pixels
from dvt.distillation.stored import StoredModule
from dvt.distillation.student import Student
from dvt.errors import BackboneError, ConfigError, TrainingError
from dvt.grid import PatchGrid
from dvt.losses import feature_distance
from dvt.runtime import seed_for
from dvt.weights.folder import read_model_folder

MIXTOKEN, UNMIX = MixingKind.mixtoken, MixingKind.unmix
TIMM = ("vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_clip_224.laion2b")


class Blocks(nn.Module):
    """Two blocks on patches of 16 px behind a class token, whose positions are embedded before them."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 16, stride=16), nn.LayerNorm(16)
        self.first, self.positions = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0) for _ in range(2)
        )

    def embedded(self, images):
        patches = self.stem(images).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(images), 1, 16), patches], dim=1) + self.positions

    def forward(self, images):
        tokens = self.embedded(images)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)


@pytest.fixture(scope="module")
def any_vit():
    """A ViT of no library that is known, with its blocks named."""
    torch.manual_seed(0)
    options = {"blocks": "layers", "norm": "norm", "num_prefix_tokens": 1}
    return dvt.wrap_backbone(Blocks(), patch=16, image_size=64, device="cpu", **options)


@pytest.fixture
def batch():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def module_of(backbone, options, *, frozen=None, weight=0.0, **changes):
    """The training of a student whose weights are no longer those of its ViT."""
    student = Student(backbone, StudentConfig())
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    return StoredModule(student, options(**changes), {}, frozen or backbone, weight)


def drawn(config, grid_hw=(14, 14), seed=0, steps=range(2000)):
    return [draw_mixture(config, grid_hw, seed, step) for step in steps]


def test_steps_and_boxes_are_drawn_as_often_as_asked():
    boxes = drawn(MixingConfig(kind=MIXTOKEN, probability=0.25), grid_hw=(6, 10))
    mixed = [box for box in boxes if box is not None]
    assert len(mixed) / len(boxes) == pytest.approx(0.25, abs=0.03)
    assert all(box.top + box.height <= 6 and box.left + box.width <= 10 for box in mixed)
    assert sum(box.height * box.width / 60 for box in mixed) / len(mixed) == pytest.approx(0.5, abs=0.04)
    middle = sum(box.on((6, 10)).float() for box in mixed)
    assert torch.equal(middle > 0, torch.ones(6, 10, dtype=torch.bool))
    both = drawn(MixingConfig(kind=UNMIX, global_share=0.7))
    blends = [mixture.own for mixture in both if isinstance(mixture, Blend)]
    assert len(blends) / len(both) == pytest.approx(0.7, abs=0.03) and None not in both
    assert torch.tensor(blends).histc(4, 0, 1).div(len(blends)).sub(0.25).abs().max() < 0.04
    assert not any(drawn(MixingConfig()))


def test_the_draws_are_a_function_of_seed_and_step():
    config = MixingConfig(kind=UNMIX)
    torch.manual_seed(1)
    first = drawn(config, steps=range(20))
    torch.manual_seed(2)
    assert drawn(config, steps=range(20)) == first
    assert drawn(config, steps=range(12, 20)) == first[12:]
    assert drawn(config, seed=1, steps=range(20)) != first and len(set(map(repr, first))) == 20


def test_the_share_of_the_own_image_in_pixels_and_in_overlapping_patches():
    box = Box(top=0, left=1, height=1, width=2)
    plain = PatchGrid.of((4, 6), patch=2)
    assert torch.equal(
        own_share_of_pixels(box, plain),
        torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]).float(),
    )
    dense = PatchGrid.of((4, 6), patch=2, stride=1)  # 3 x 5 patches; the box has the pixels of columns 1 and 2 of row 0
    assert torch.equal(own_share_of_pixels(box, dense)[0], torch.tensor([1.0, 0, 0, 1, 1, 1]))
    assert own_share_of_pixels(Box(0, 0, 3, 5), dense).sum() == 0
    assert own_share_of_pixels(Blend(0.3), dense) == torch.tensor(0.3)


@pytest.mark.parametrize("name", TIMM)
def test_mixtoken_is_the_blocks_on_tokens_that_were_mixed_by_hand(name, make_backbone):
    """Mixed before the positions are embedded it is the same, as both tokens of a place have one position."""
    backbone = make_backbone(name)
    student, vit, box = Student(backbone, StudentConfig()), backbone.vit, Box(top=1, left=0, height=2, width=3)
    images = torch.rand(3, 3, *backbone.grid.image_hw, generator=torch.Generator().manual_seed(3))
    taken = torch.zeros(4, 4, dtype=torch.bool)
    taken[1:3, 0:3] = True
    with torch.no_grad():
        given, own = mixed_pass(student, images, box, MIXTOKEN)
        embedded = vit.patch_embed((images - backbone.mean) / backbone.std)
        others = embedded[[2, 1, 0]]
        mixed = torch.where(taken[:, :, None], others, embedded)
        tokens = vit.norm_pre(vit._pos_embed(mixed))
        wanted = vit.norm(vit.blocks(tokens))[:, vit.num_prefix_tokens :].unflatten(1, (4, 4))
        torch.testing.assert_close(given, wanted)
        assert torch.equal(own, (~taken).float())
        assert not torch.allclose(given, student(images).patches, atol=1e-3)
        assert torch.equal(student(images).patches, backbone(images).patches), "the next pass is a plain one"


def test_mixtoken_for_a_vit_of_any_source(any_vit, batch):
    student, network = Student(any_vit, StudentConfig()), any_vit.vit
    with torch.no_grad():
        given, _ = mixed_pass(student, batch, Box(top=3, left=0, height=1, width=4), MIXTOKEN)
        tokens = network.embedded(batch)
        tokens[:, 13:] = network.embedded(batch.flip(0))[:, 13:]
        for layer in network.layers:
            tokens = layer(tokens)
        torch.testing.assert_close(given.flatten(1, 2), network.norm(tokens)[:, 1:])


def test_unmix_pastes_and_blends_pixels(make_backbone, batch):
    backbone = make_backbone()
    student, pasted = Student(backbone, StudentConfig()), batch.clone()
    pasted[:, :, 16:48, 32:] = batch[[3, 2, 1, 0], :, 16:48, 32:]
    with torch.no_grad():
        given, own = mixed_pass(student, batch, Box(top=1, left=2, height=2, width=2), UNMIX)
        torch.testing.assert_close(given, backbone(pasted).patches)
        assert own.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
        given, own = mixed_pass(student, batch, Blend(0.3), UNMIX)
        torch.testing.assert_close(given, backbone(0.3 * batch + 0.7 * batch[[3, 2, 1, 0]]).patches)
        assert own == torch.tensor(0.3)


@pytest.mark.parametrize(
    ("kind", "nothing"), [(MIXTOKEN, Box(2, 1, 0, 3)), (UNMIX, Box(2, 1, 0, 3)), (UNMIX, Blend(1.0))]
)
def test_with_nothing_of_the_other_image_it_is_the_plain_loss(kind, nothing, make_backbone, batch, options):
    backbone, clean = make_backbone(), torch.randn(4, 4, 4, 64)
    module = module_of(backbone, options, mixing={"kind": kind})
    plain = feature_distance(module.network(batch).patches, clean)
    torch.testing.assert_close(module.mixed_loss(batch, clean, nothing), plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("kind", "all_of_it"), [(MIXTOKEN, Box(0, 0, 4, 4)), (UNMIX, Box(0, 0, 4, 4)), (UNMIX, Blend(0))]
)
def test_with_all_of_the_other_image_it_is_the_batch_in_reversed_order(kind, all_of_it, make_backbone, batch, options):
    backbone, clean = make_backbone(), torch.randn(4, 4, 4, 64)
    module = module_of(backbone, options, mixing={"kind": kind})
    order = [3, 2, 1, 0]
    plain = feature_distance(module.network(batch[order]).patches, clean[order])
    torch.testing.assert_close(module.mixed_loss(batch, clean, all_of_it), plain, rtol=1e-6, atol=0)


def test_each_patch_learns_what_it_has_of_each_image(make_backbone, batch, options):
    """Within the box the target of the other image; of a blend both, by their shares."""
    backbone, clean = make_backbone(), torch.randn(4, 4, 4, 64)
    module, others = module_of(backbone, options, mixing={"kind": UNMIX}), clean[[3, 2, 1, 0]]
    box, target = Box(0, 2, 3, 2), clean.clone()
    target[:, 0:3, 2:4] = others[:, 0:3, 2:4]
    given, _ = mixed_pass(module.network, batch, box, UNMIX)
    torch.testing.assert_close(module.mixed_loss(batch, clean, box), feature_distance(given, target))
    given, _ = mixed_pass(module.network, batch, Blend(0.3), UNMIX)
    wanted = 0.3 * feature_distance(given, clean) + 0.7 * feature_distance(given, others)
    torch.testing.assert_close(module.mixed_loss(batch, clean, Blend(0.3)), wanted)


def test_a_step_of_unmix_adds_the_mixed_loss_to_the_plain_one(make_backbone, batch, options):
    shown = {"key": list("abcd"), "image": batch, "clean": torch.randn(4, 4, 4, 64)}
    mixing, backbone = {"kind": UNMIX, "global_share": 1.0}, make_backbone()
    module, plain = (module_of(backbone, options, weight=0.5, **each) for each in ({"mixing": mixing}, {}))
    mixture = draw_mixture(module.options.mixing, (4, 4), seed=0, step=0)
    wanted = plain.loss(shown) + module.mixed_loss(batch, shown["clean"], mixture)
    torch.testing.assert_close(module.loss(shown), wanted)


def test_a_step_of_mixtoken_has_the_mixed_loss_alone_and_no_class_token(make_backbone, batch, options):
    shown = {"key": list("abcd"), "image": batch, "clean": torch.randn(4, 4, 4, 64)}
    backbone, frozen, calls = make_backbone(), make_backbone(), []
    frozen.vit.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    module = module_of(backbone, options, frozen=frozen, weight=0.5, mixing={"kind": MIXTOKEN, "probability": 0.999})
    box = draw_mixture(module.options.mixing, (4, 4), seed=0, step=0)
    torch.testing.assert_close(module.loss(shown), module.mixed_loss(batch, shown["clean"], box))
    assert not calls
    unmixed = module_of(backbone, options, frozen=frozen, weight=0.5, mixing={"kind": MIXTOKEN, "probability": 1e-9})
    plain = module_of(backbone, options, weight=0.5)
    assert torch.equal(unmixed.loss(shown), plain.loss(shown)) and len(calls) == 1


@pytest.mark.parametrize("kind", [MIXTOKEN, UNMIX])
def test_a_student_that_drops_patches_draws_them_in_the_mixed_pass_too(kind, make_backbone, batch, options):
    backbone, clean, none = make_backbone(depth=4), torch.randn(4, 4, 4, 64), Box(0, 0, 0, 0)
    student = Student(backbone, StudentConfig(keep=0.5))
    module = StoredModule(student, options(mixing={"kind": kind}, student={"keep": 0.5}), {}, backbone, 0.0)
    with drawn_masks(seed_for(0, "mixed masks 0 0")) as masks:
        wanted = feature_distance(student(batch).patches, clean) + 2 * student.pruning.ratio_loss(masks.shares)
    torch.testing.assert_close(module.mixed_loss(batch, clean, none), wanted)
    module.mixed_loss(batch, clean, Box(1, 1, 2, 2)).backward()
    assert all(each.grad is not None for each in student.parameters() if each.requires_grad)


@pytest.mark.parametrize("source", ["timm", "any"])
@pytest.mark.parametrize("kind", [MIXTOKEN, UNMIX])
def test_gradients_reach_all_of_the_vit_also_where_activations_are_computed_again(
    source, kind, make_backbone, any_vit, batch
):
    gradients, backbone = [], make_backbone() if source == "timm" else any_vit
    target = torch.randn(4, 4, 4, backbone.num_channels, generator=torch.Generator().manual_seed(0))
    for again in (False, True):
        student = Student(backbone, StudentConfig(gradient_checkpointing=again))
        feature_distance(mixed_pass(student, batch, Box(1, 1, 2, 2), kind)[0], target).backward()
        gradients.append([parameter.grad for parameter in student.parameters() if parameter.requires_grad])
    assert all(each is not None for each in gradients[0])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("kind", [MIXTOKEN, UNMIX])
def test_stopped_and_resumed_is_the_same_as_never_stopped(kind, tmp_path, images, options, teacher):
    config = options(mixing={"kind": kind})
    distill(images, tmp_path / "whole", config, teacher=teacher)
    first = distill(images, tmp_path / "parts", config, teacher=teacher, reporter=ActAt(3))
    assert first.interrupted and first.step == 3
    distill(images, tmp_path / "parts", config, teacher=teacher)
    distill(images, tmp_path / "plain", options(), teacher=teacher)
    whole, parts, plain = (read_model_folder(tmp_path / name)[0] for name in ("whole", "parts", "plain"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert not torch.equal(whole["blocks.0.mlp.fc1.weight"], plain["blocks.0.mlp.fc1.weight"])


def test_the_mixture_of_one_batch_stays_the_same(make_backbone, batch, options):
    """A run that is to fit one batch has the mixture of its first step in all of them."""
    shown = {"key": list("abcd"), "image": batch, "clean": torch.randn(4, 4, 4, 64)}
    losses = []
    for one_batch, step in ((True, 0), (True, 5), (False, 5)):
        module = module_of(make_backbone(), options, one_batch=one_batch, mixing={"kind": UNMIX})
        module.__class__ = type("At", (StoredModule,), {"global_step": step})
        losses.append(float(module.loss(shown).detach()))
    assert losses[0] == losses[1] != losses[2]


def test_a_model_as_teacher_and_what_is_published(tmp_path, images, options, teacher):
    run = distill(images, tmp_path / "out", options(num_steps=2, mixing={"kind": UNMIX}), teacher=teacher)
    assert read_model_folder(run.out)[1].training["mixing"] == {
        "kind": "unmix",
        "probability": 1.0,
        "global_share": 0.5,
    }
    with pytest.raises(TrainingError) as caught:
        distill(images, tmp_path / "out", options(num_steps=2), teacher=teacher)
    assert "mixing.kind: 'unmix' in the checkpoint, nothing in the request" in str(caught.value)
    plain = distill(images, tmp_path / "plain", options(num_steps=2), teacher=teacher)
    saved = torch.load(plain.out / "checkpoints" / "step-00000002.ckpt", weights_only=True)
    assert not {"mixing", "labels"} & saved["dvt"]["settings"].keys(), "checkpoints of before have neither"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"probability": 0.5}, "mixing.probability=0.5 is for mixing.kind=mixtoken or unmix"),
        ({"kind": MIXTOKEN, "probability": 0.0}, "mixing.probability=0.0: give 0 < probability <= 1"),
        ({"kind": MIXTOKEN, "global_share": 0.5}, "mixing.global_share=0.5 is for mixing.kind=unmix"),
        ({"kind": UNMIX, "global_share": 1.5}, "mixing.global_share=1.5: give a share between 0 and 1"),
    ],
)
def test_options_without_effect_or_sense_are_refused(given, text):
    with pytest.raises(ConfigError, match=text):
        MixingConfig(**given)


def test_mixtures_that_a_run_cannot_have_are_refused(tmp_path, images, options, teacher):
    whole = dvt.wrap_backbone(Blocks(), patch=16, image_size=64, num_prefix_tokens=1, device="cpu")
    with pytest.raises(BackboneError, match="its blocks are not known"):
        check_mixing(options(mixing={"kind": MIXTOKEN}), whole, 0.0)
    check_mixing(options(mixing={"kind": UNMIX}), whole, 0.1)
    for changes, text in (
        ({"batch_size": 1, "mixing": {"kind": UNMIX}}, "mixing.kind=unmix needs two images per step"),
        ({"mixing": {"kind": MIXTOKEN, "probability": 1.0}}, "leaves no step in which the class token is learned"),
    ):
        with pytest.raises(ConfigError, match=text):
            distill(images, tmp_path / "out", options(**changes), teacher=teacher)
    assert not (tmp_path / "out").exists()
    check_mixing(options(mixing={"kind": MIXTOKEN, "probability": 1.0}), teacher.backbone, 0.0)
