"""Methods: zoom baselines against features that are known; models and stage 1 behind one interface."""

import hashlib
from dataclasses import replace

import pytest
import torch
from mean_colours import MeanColours
from torch.nn import functional

import dvt
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose_image
from dvt.errors import BackboneError, GeometryError
from dvt.images.resize import resize
from dvt.methods.decomposed import AtSize, Decomposed
from dvt.methods.method import Method, OnePass, fingerprint
from dvt.methods.zoom import Enlarged, Tiles
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig

SIZE = (48, 64)


@pytest.fixture(scope="module")
def backbone():
    return dvt.load_backbone("vit_tiny_patch16_224", weights="random", image_size=64)


def pictures(count=2, sizes=((96, 128), (70, 50))):
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(3, *sizes[number % len(sizes)], generator=rng) for number in range(count)]


def smooth(height, width):
    """A picture that is linear in the place: resizing keeps its mean colours, but at the edges."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([x, y, (x + y) / 2])


@pytest.mark.parametrize("around", [Enlarged, Tiles])
@pytest.mark.parametrize("factor", [2, 3])
def test_zoom_alone_changes_no_mean_colour(around, factor):
    """The mean of a patch is the mean of its parts, however they are looked at; what remains is resampling."""
    plain, zoomed = MeanColours(), around(MeanColours(), factor)
    picture = smooth(SIZE[0] * factor, SIZE[1] * factor)
    few, many = plain([picture], SIZE), zoomed([picture], SIZE)
    assert many.patches.shape == few.patches.shape and many.grid == few.grid == zoomed.grid_for(SIZE)
    torch.testing.assert_close(many.patches, few.patches, atol=2e-3, rtol=0)
    torch.testing.assert_close(many.prefix, few.prefix, atol=2e-3, rtol=0)
    block = functional.avg_pool2d(picture[None], 8 * factor).permute(0, 2, 3, 1)  # no resampling: exact
    torch.testing.assert_close(many.patches, block)


@pytest.mark.parametrize("around", [Enlarged, Tiles])
def test_each_picture_keeps_its_place_in_the_batch(around):
    method, some = around(MeanColours(), 2), pictures(4)
    together = method(some, SIZE)
    for picture, patches, prefix in zip(some, together.patches, together.prefix, strict=True):
        alone = method([picture], SIZE)
        torch.testing.assert_close(patches, alone.patches[0])
        torch.testing.assert_close(prefix, alone.prefix[0])


def test_tiles_do_not_see_each_other_and_an_enlarged_image_does():
    class Whole(MeanColours):
        """Every patch has the mean colour of all that the method sees."""

        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            features.patches[:] = features.prefix[:, None]
            return features

    picture = torch.zeros(3, 96, 128)
    picture[:, :48, 64:] = 1.0  # the right upper tile
    tiles = Tiles(Whole(), 2)([picture], SIZE).patches[0, ..., 0]
    assert tiles[:3, 4:].eq(1).all() and tiles[3:].eq(0).all() and tiles[:, :4].eq(0).all()
    assert Enlarged(Whole(), 2)([picture], SIZE).patches.unique().tolist() == pytest.approx([0.25])


def test_what_zoom_costs_and_is_called():
    raw, srt = MeanColours(), MeanColours(name="srt")
    assert [Enlarged(raw, 3).name, Tiles(raw, 2).name, Tiles(raw, 3).name] == ["raw@3x", "tiles", "tiles@3x"]
    assert [Enlarged(srt, 2).name, Tiles(srt, 2).name, Tiles(srt, 4).name] == ["srt@2x", "srt-tiles", "srt-tiles@4x"]
    for method in (Enlarged(raw, 3), Tiles(raw, 3)):
        assert method.cost == 9 and method.spec == raw.spec and isinstance(method, Method)
    prints = [fingerprint(each) for each in (raw, Enlarged(raw, 2), Enlarged(raw, 3), Tiles(raw, 2), Tiles(raw, 3))]
    assert all(prints.count(each) == 1 for each in prints)


@pytest.mark.parametrize("around", [Enlarged, Tiles])
def test_overlapping_patches_and_odd_sizes_are_refused(around):
    with pytest.raises(BackboneError, match=r"backbone\.stride=4 makes patches of 8 px overlap"):
        around(MeanColours(stride=4), 2)(pictures(), SIZE)
    with pytest.raises(GeometryError):
        around(MeanColours(), 2)(pictures(), (50, 64))


def test_a_model_sees_every_picture_squashed(backbone):
    method, some = OnePass("raw", backbone), pictures()
    features = method(some, (32, 64))
    expected = backbone(torch.stack([resize(picture, (32, 64)) for picture in some]))
    assert torch.equal(features.patches, expected.patches) and torch.equal(features.prefix, expected.prefix)
    assert features.grid.hw == (2, 4) and method.grid_for((32, 64)) == features.grid
    assert method.spec == backbone.spec and method.cost == 1


def test_half_precision_comes_back_in_float32_and_under_a_fingerprint_of_its_own(backbone):
    half = dvt.load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, precision="bf16")
    features = OnePass("raw", half)(pictures(), (32, 32))
    assert features.patches.dtype == features.prefix.dtype == torch.float32
    assert fingerprint(OnePass("raw", half)) != fingerprint(OnePass("raw", backbone))


def test_a_fingerprint_says_which_features_these_are(backbone):
    options = ({}, {"layer": 5}, {"norm": False}, {"stride": 8}, {"image_size": 96})
    models = [
        dvt.load_backbone("vit_tiny_patch16_224", weights="random", **{"image_size": 64} | each) for each in options
    ]
    srt = SrtBackbone(backbone, SrtConfig(max_shift=6, step=6))
    prints = [fingerprint(OnePass("raw", model)) for model in (*models[:4], srt)]
    prints.append(fingerprint(Decomposed(backbone, load_quality("tiny"))))
    prints.append(fingerprint(Decomposed(backbone, load_quality("tiny"), seed=1)))
    assert all(prints.count(each) == 1 for each in prints)
    assert fingerprint(OnePass("other", models[0])) == prints[0], "the name is not what it is"
    assert fingerprint(OnePass("raw", models[4])) == prints[0], "tasks choose the image size"


def test_decomposed_is_stage_1_of_every_image_at_the_size_of_the_task(backbone):
    quality = load_quality("tiny", {"num_views": 4})
    method, some = Decomposed(backbone, quality, seed=3), pictures()
    features, raw = method(some, (32, 48)), OnePass("raw", backbone)(some, (32, 48))
    assert torch.equal(features.prefix, raw.prefix) and features.grid == raw.grid
    assert method.cost == 6 and method.spec == backbone.spec and isinstance(method, Method)
    assert not torch.allclose(features.patches, raw.patches, atol=1e-2)
    assert torch.equal(method(some[1:], (32, 48)).patches[0], features.patches[1]), "views depend on seed and pixels"
    content = hashlib.sha256(some[0].numpy().tobytes()).hexdigest()
    alone = decompose_image(some[0], AtSize(backbone, (32, 48)), quality, dvt.seed_for(3, content))
    assert torch.equal(alone.clean, features.patches[0])


def test_a_model_at_another_size_refuses_what_does_not_fit(backbone):
    assert AtSize(backbone, (32, 96)).grid.hw == (2, 6)
    with pytest.raises(GeometryError):
        AtSize(backbone, (33, 96))


def test_methods_of_one_f_read_it_after_one_run_of_stage_1(backbone):
    config = load_quality("tiny", {"num_views": 4, "fine": 2})
    methods = [Decomposed(backbone, replace(config, fine=number)) for number in (2, 1, 3)]
    others = (
        Decomposed(backbone, config, seed=1),
        Decomposed(backbone, load_quality("tiny", {"num_views": 5})),
        OnePass("raw", backbone),
    )
    assert all(methods[1].same_field(method) for method in methods)
    assert not any(methods[0].same_field(other) for other in others)
    for first in methods:
        together = first.read(methods, pictures(), (32, 48))
        for method, read in zip(methods, together, strict=True):
            alone = method(pictures(), (32, 48))
            assert torch.equal(read.patches, alone.patches) and torch.equal(read.prefix, alone.prefix)
            assert read.grid == alone.grid == method.grid_for((32, 48))


def test_finer_features_of_stage_1_average_to_its_features(backbone, caplog):
    config = load_quality("tiny", {})
    plain, fine = (Decomposed(backbone, replace(config, fine=number)) for number in (1, 4))
    assert [r.message.split(":")[0] for r in caplog.records] == ["decomposed@fine4"]
    assert "F has 1 x 1 nodes a patch" in caplog.text and "nodes_per_patch=4" in caplog.text
    caplog.clear()
    Decomposed(backbone, load_quality("tiny", {"closed_form": {"nodes_per_patch": 4}, "fine": 4}))
    assert not caplog.records
    few, many = (method(pictures(1), SIZE) for method in (plain, fine))
    assert many.grid == few.grid.finer(4) == fine.grid_for(SIZE) and many.patches.shape[1:3] == (12, 16)
    means = functional.avg_pool2d(many.patches.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(means, few.patches, atol=0.02, rtol=0)  # F is piecewise bilinear: 4 x 4 samples a patch
    assert fingerprint(fine) == {**fingerprint(plain), "fine": 4} and fine.name == "decomposed@fine4"
    assert Decomposed(backbone, replace(config, fine=2), quality="tiny").name == "decomposed:tiny@fine2"
