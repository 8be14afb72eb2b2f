"""SrtBackbone: equal to SRT done pixel by pixel, right at borders, and a Backbone in every respect."""

import numpy as np
import pytest
import torch
from planted_vit import coarse, long_way, moved, per_pixel, pooled

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import FeatureExtractor, Features
from dvt.errors import BackboneError, ConfigError, GeometryError
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import Aggregate, Fill, SrtConfig


def srt(backbone, **options):
    return SrtBackbone(backbone, SrtConfig(**options))


@pytest.mark.parametrize(
    ("patch", "stride", "max_shift", "step", "fine"),
    [
        (4, 4, 1, 1, 1), (4, 4, 3, 1, 1), (4, 4, 3, 1, 2), (4, 4, 3, 3, 4), (7, 7, 6, 2, 1), (7, 7, 4, 1, 7),
        (6, 6, 5, 5, 3), (6, 3, 5, 1, 1), (6, 4, 4, 2, 2), (8, 2, 7, 3, 2),
    ],
)  # fmt: skip
def test_the_closed_form_is_the_map_per_pixel(patch, stride, max_shift, step, fine, planted, make_images):
    hw = (patch + 2 * stride, patch + 4 * stride)
    backbone = planted(coarse, patch, hw, stride)
    images = make_images(2, *hw)
    given = srt(backbone, max_shift=max_shift, step=step, fine=fine)(images)
    reach = max_shift // step * step
    expected = long_way(backbone, images, range(-reach, reach + 1, step), fine)
    assert given.patches.shape == (2, 3 * fine, 5 * fine, 6) and given.grid.hw == given.patches.shape[1:3]
    torch.testing.assert_close(given.patches, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("stride", [16, 8])
def test_so_it_is_for_a_real_vit(stride, small_vit, make_images):
    backbone, images = small_vit(stride=stride), make_images(2, 48, 80)
    given = srt(backbone, max_shift=6, step=3, fine=2)(images)
    expected = long_way(backbone, images, range(-6, 7, 3), 2)
    torch.testing.assert_close(given.patches, expected, atol=2e-5, rtol=2e-5)  # the ViT itself, in other batches


@pytest.mark.parametrize("size", [(1, 12, 20), (3, 20, 8), (2, 4, 4)])
def test_other_sizes_than_the_default(size, planted, make_images):
    backbone, images = planted(coarse), make_images(*size)
    given = srt(backbone, max_shift=2)(images)
    assert given.grid == backbone.grid_for(size[1:]) and given.patches.shape[:3] == (size[0], *given.grid.hw)
    torch.testing.assert_close(given.patches, long_way(backbone, images, range(-2, 3)), atol=1e-6, rtol=1e-6)


def test_places_in_the_image_are_found_again(planted):
    """Each token says where it looks. A view moves what it sees, the alignment undoes it: inside nothing changes.

    Without the alignment, or with its sign turned, the mean over views in one direction alone would be off.
    """
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(28.0), indexing="ij")
    image = torch.stack((rows, columns, rows * 0))[None]
    place = planted(lambda windows: windows[:, :2].mean(dim=(-1, -2)).permute(0, 2, 3, 1), 4, (20, 28))
    wrapped = srt(place, max_shift=3)
    torch.testing.assert_close(wrapped(image).patches[:, 1:-1, 1:-1], place(image).patches[:, 1:-1, 1:-1])
    wrapped.shifts = [shift for shift in wrapped.shifts if shift.dy >= 0 and shift.dx >= 0]
    torch.testing.assert_close(wrapped(image).patches[:, 1:-1, 1:-1], place(image).patches[:, 1:-1, 1:-1])


def test_what_is_locked_to_the_patch_position_is_smeared_by_a_known_amount(planted, make_images):
    """One bright token in row 1 of 4: 4 px patches, shifts of -1, 0, 1 give its neighbours a twelfth each."""

    def bright(windows):
        tokens = torch.zeros(*windows.shape[:1], *windows.shape[2:4], 1)
        tokens[:, 1] = 1
        return tokens

    given = srt(planted(bright, 4, (16, 8)), max_shift=1)(make_images(1, 16, 8)).patches[0, :, 0, 0]
    inside, beside = (1 + 3 / 4 + 3 / 4) / 3, (1 / 4) / 3
    at_the_edge = (1 / 4) / (1 + 1 + 3 / 4)  # the view that moves row 0 away covers three quarters of it
    torch.testing.assert_close(given, torch.tensor([at_the_edge, inside, beside, 0]))


@pytest.mark.parametrize("fill", Fill)
@pytest.mark.parametrize("aggregate", Aggregate)
@pytest.mark.parametrize("fine", [1, 2])
def test_a_constant_stays_what_it_is_up_to_the_corners(fill, aggregate, fine, planted, make_images):
    constant = planted(lambda windows: torch.full((len(windows), *windows.shape[2:4], 2), 7.0))
    given = srt(constant, max_shift=3, aggregate=aggregate, fine=fine, fill=fill)(make_images(1, 12, 20)).patches
    torch.testing.assert_close(given, torch.full_like(given, 7.0), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("fine", "step", "stride"), [(1, 1, 4), (2, 3, 4), (4, 1, 4), (1, 1, 2)])
def test_the_median_is_that_of_the_views_that_cover_a_cell(fine, step, stride, planted, make_images):
    backbone, images = planted(coarse, 4, (12, 20), stride), make_images(2, 12, 20)
    values = []
    for dy in range(-3, 4, step):
        for dx in range(-3, 4, step):
            large, inside = per_pixel(backbone(moved(images, dy, dx)).patches, stride, dy, dx)
            weight = pooled(inside[None, ..., None].double(), stride // fine)
            values.append(pooled(large.double(), stride // fine) / weight)  # 0 / 0 where nothing is covered
    expected = torch.from_numpy(np.nanmedian(torch.stack(values).numpy(), axis=0)).float()
    given = srt(backbone, max_shift=3, step=step, fine=fine, aggregate=Aggregate.median)(images)
    torch.testing.assert_close(given.patches, expected, atol=1e-6, rtol=1e-6)


def test_the_median_passes_over_a_view_that_errs(planted, make_images):
    def sometimes_wild(windows):
        tokens = torch.ones(len(windows), *windows.shape[2:4], 1)
        tokens[len(windows) // 2] = 1000
        return tokens

    options = {"max_shift": 1, "batch_size": 9}
    wild, image = planted(sometimes_wild), make_images(1, 12, 20)
    assert srt(wild, **options)(image).patches.min() > 50
    median = srt(wild, aggregate=Aggregate.median, **options)(image).patches
    torch.testing.assert_close(median, torch.ones_like(median))


@pytest.mark.parametrize("aggregate", Aggregate)
def test_nan_is_not_hidden(aggregate, planted, make_images):
    def broken(windows):
        tokens = torch.ones(len(windows), *windows.shape[2:4], 1)
        tokens[-1, 1, 2] = torch.nan
        return tokens

    given = srt(planted(broken), max_shift=1, aggregate=aggregate)(make_images(1, 12, 20)).patches
    assert given[0, 1, 2].isnan().all()


def test_where_the_original_differs_and_by_how_much(planted, make_images):
    """The released code counts the unshifted image twice and divides by the number of views at the border too.

    original * b = raw + ours * weight, with b = 1 + views, and weight the views that cover a cell: 49 inside, and with
    patches of 16 px and shifts of up to 3 px, 7 * 6.625 along an edge and 6.625 ** 2 in a corner.
    """
    backbone, images = planted(coarse, 16, (48, 64)), make_images(1, 48, 64)
    total = backbone(images).patches.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)
    for dy in range(-3, 4):
        for dx in range(-3, 4):  # zero after normalisation, nearest, moved back with zeros around
            shown = moved(images, dy, dx, "mean", backbone.mean)
            total = total + per_pixel(backbone(shown).patches, 16, dy, dx)[0]
    original = pooled(total / 50, 16)

    ours, raw = (each.patches for each in srt(backbone, max_shift=3, fill=Fill.mean).with_raw(images))
    cover_y, cover_x = torch.tensor([6.625, 7, 6.625]), torch.tensor([6.625, 7, 7, 6.625])
    weight = torch.outer(cover_y, cover_x)[..., None]
    torch.testing.assert_close(original, (raw + ours * weight) / 50, atol=1e-6, rtol=1e-6)

    constant = (1 + weight[..., 0]) / 50  # what the original makes of a constant 1
    torch.testing.assert_close(constant[1, 1], torch.tensor(1.0))
    assert float(constant[0, 1]) == pytest.approx(0.9475) and float(constant[0, 0]) == pytest.approx(0.8978, abs=1e-4)


def test_prefix_tokens_are_the_mean_over_the_views(planted, make_images):
    backbone = planted(coarse, prefix=lambda images: images[:, :, :2, :3].flatten(2))
    images = make_images(2, 12, 20)
    views = [moved(images, dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    expected = torch.stack([each[:, :, :2, :3].flatten(2) for each in views]).mean(dim=0)
    for aggregate in Aggregate:
        torch.testing.assert_close(srt(backbone, max_shift=1, aggregate=aggregate)(images).prefix, expected)


def test_a_vit_without_prefix_tokens(small_vit, make_images):
    backbone = small_vit("vit_base_patch16_siglip_512.v2_webli")
    features = srt(backbone, max_shift=1)(make_images(1, 48, 80))
    assert features.prefix.shape == (1, 0, 32) and features.patches.shape == (1, 3, 5, 32)


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [3] * 9), (6, [3] + [6] * 4), (100, [3, 24])])
def test_every_view_is_read_once_in_batches_of_that_size(batch_size, batches, planted, make_images):
    backbone, images = planted(coarse), make_images(3, 12, 20)
    wrapped = srt(backbone, max_shift=1, batch_size=batch_size)
    features = wrapped(images)
    assert backbone.seen == batches and wrapped.passes == 9 == sum(batches) / 3
    torch.testing.assert_close(features.patches, srt(backbone, max_shift=1)(images).patches)


def test_the_raw_features_are_there_without_another_pass(planted, make_images):
    backbone, images = planted(coarse), make_images(2, 12, 20)
    clean, raw = srt(backbone, max_shift=1).with_raw(images)
    assert sum(backbone.seen) == 18 and torch.equal(raw.patches, backbone(images).patches)
    assert not torch.allclose(clean.patches, raw.patches, atol=0.1)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.06), ("fp16", 0.01)])
@pytest.mark.parametrize("aggregate", Aggregate)
def test_half_precision_of_the_vit_alone(precision, tolerance, aggregate, small_vit, make_images):
    backbone, images = small_vit(precision=precision), make_images(1, 48, 80)
    half = srt(backbone, max_shift=2, aggregate=aggregate)(images)
    full = srt(small_vit(), max_shift=2, aggregate=aggregate)(images)
    assert half.patches.dtype == half.prefix.dtype == backbone.precision.dtype
    torch.testing.assert_close(half.patches.float(), full.patches, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(half.prefix.float(), full.prefix, atol=tolerance, rtol=tolerance)


def test_it_is_a_backbone_in_every_respect(small_vit, make_images):
    vit = small_vit()
    wrapped = srt(vit, max_shift=2)
    assert isinstance(wrapped, FeatureExtractor) and not wrapped.train().training
    for name in ("grid", "layer", "norm", "num_channels", "num_prefix_tokens", "precision", "device"):
        assert getattr(wrapped, name) == getattr(vit, name)
    assert (wrapped.name, wrapped.full_name) == ("small+srt", "vit_tiny_patch16_224.augreg_in21k_ft_in1k+srt")
    assert wrapped.grid_for((32, 64)) == vit.grid_for((32, 64))
    image = make_images(1, 30, 31)[0]
    assert torch.equal(wrapped.preprocess(image), vit.preprocess(image))
    features = wrapped(make_images(1, 48, 80).requires_grad_())
    assert isinstance(features, Features) and not features.patches.requires_grad
    missing = [name for name in dir(Backbone) if not name.startswith("_") and not hasattr(wrapped, name)]
    assert missing == ["forward_layers", "pruning"]  # of a plain ViT alone


def test_a_hash_of_weights_and_settings(small_vit):
    vit = small_vit()
    hashes = {
        srt(vit, **options).weights_hash
        for options in (
            {},
            {"max_shift": 2},
            {"step": 3},
            {"fill": Fill.mean},
            {"fine": 2},
            {"aggregate": Aggregate.median},
        )
    }
    assert len(hashes | {vit.weights_hash}) == 7
    assert srt(vit, batch_size=5).weights_hash == srt(vit).weights_hash
    assert srt(vit).settings == {"srt": {"max_shift": 3, "step": 1, "aggregate": "mean", "fill": "edge", "finer": 1}}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_shift": 0}, "srt.max_shift=0: give at least 1"),
        ({"step": 0}, "srt.step=0: give at least 1"),
        ({"batch_size": 0}, "srt.batch_size=0: give at least 1"),
        ({"fine": -1}, "srt.fine=-1: give at least 1"),
        ({"step": 4}, "srt.step=4 leaves no shift within srt.max_shift=3: give a step of 1 to 3"),
        ({"max_shift": 16}, r"SRT shifts by less than a patch, and .* has patches of 16 px. Give 1 to 15"),
        ({"fine": 3}, r"srt.fine=3 cuts the 16 px between patches .*: give one of 1, 2, 4, 8, 16"),
    ],
)
def test_options_that_make_no_sense(options, text, small_vit):
    with pytest.raises(ConfigError, match=text):
        srt(small_vit(), **options)


@pytest.mark.other_types
def test_images_that_do_not_fit(small_vit):
    wrapped = srt(small_vit())
    with pytest.raises(GeometryError, match="does not divide"):
        wrapped(torch.rand(1, 3, 48, 81))
    with pytest.raises(BackboneError, match="expected images of shape"):
        wrapped(torch.zeros(1, 3, 48, 80, dtype=torch.long))
