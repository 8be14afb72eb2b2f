"""Position put back: exact where it is all of it, of a known shape where it is an embedding, none where it is none."""

import hashlib
from dataclasses import replace

import pytest
import torch
from mean_colours import MeanColours
from torch.nn import functional

import dvt
from dvt.backbone.features import Features
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose_image
from dvt.errors import BackboneError, ConfigError
from dvt.grid import PatchGrid
from dvt.methods.cache import Cached, cached, without_cache
from dvt.methods.config import Position, PositionKind
from dvt.methods.decomposed import AtSize, Decomposed
from dvt.methods.method import Method, OnePass, fingerprint
from dvt.methods.names import Family, family, is_zoom, named_method, parse_name, positioned_names
from dvt.methods.position import GRID, WithRemoved, WithSinCos, sincos_embedding, to_cells
from dvt.methods.zoom import Enlarged
from dvt.runtime import seed_for
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig

SIZE = (32, 48)


@pytest.fixture(scope="module")
def backbone():
    return dvt.load_backbone("vit_micro", image_size=32, device="cpu")


@pytest.fixture(scope="module")
def denoised():
    return dvt.load_denoised(weights="vit_micro/denoiser", device="cpu")[0]


@pytest.fixture(scope="module")
def config():
    return load_quality("tiny", {"num_views": 4})


def images(count=2):
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(3, 40, 60, generator=rng) for _ in range(count)]


def cell_means(features, cells):
    return functional.avg_pool2d(features.patches.permute(0, 3, 1, 2), cells).permute(0, 2, 3, 1)


def test_f_and_all_of_g_are_the_raw_features_without_h(backbone, config):
    some = images()
    plain, half, whole = (Decomposed(backbone, config, position=share) for share in (0, 0.5, 1))
    clean, middle, back = (method(some, SIZE) for method in (plain, half, whole))
    for number, image in enumerate(some):
        key = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        found = decompose_image(image, AtSize(backbone, SIZE), config, seed_for(0, key))
        torch.testing.assert_close(back.patches[number], found.raw - found.residual)
        torch.testing.assert_close(clean.patches[number], found.clean)
    torch.testing.assert_close(middle.patches, (clean.patches + back.patches) / 2)
    assert torch.equal(back.prefix, clean.prefix) and whole.cost == plain.cost
    assert [method.name for method in (plain, half, whole)] == [
        "decomposed", "decomposed+position0.5", "decomposed+position1",
    ]  # fmt: skip


def test_no_share_changes_nothing(backbone, config):
    without, zero = Decomposed(backbone, config), Decomposed(backbone, config, position=0)
    assert fingerprint(zero) == fingerprint(without) and zero.name == without.name
    assert "position" not in fingerprint(zero)
    some = images(1)
    assert torch.equal(zero(some, SIZE).patches, without(some, SIZE).patches)
    assert positioned_names(["raw", "srt"], 0.0, PositionKind.removed) == ["raw", "srt"]


def test_all_of_the_removed_position_gives_the_raw_features(backbone, denoised):
    raw, clean, some = OnePass("raw", denoised.backbone), OnePass("denoised", denoised), images()
    whole, half = WithRemoved(clean, raw, 1.0), WithRemoved(clean, raw, 0.5)
    theirs, ours = raw(some, SIZE), clean(some, SIZE)
    torch.testing.assert_close(whole(some, SIZE).patches, theirs.patches)
    torch.testing.assert_close(half(some, SIZE).patches, (theirs.patches + ours.patches) / 2)
    assert torch.equal(half(some, SIZE).prefix, ours.prefix)
    assert (whole.name, whole.cost, whole.grid_for(SIZE)) == ("denoised+position1", 2, raw.grid_for(SIZE))
    assert isinstance(whole, Method)
    prints = [fingerprint(each) for each in (raw, clean, whole, half, WithSinCos(clean, 1.0), WithSinCos(clean, 0.5))]
    assert all(prints.count(each) == 1 for each in prints)


def test_cells_of_a_patch_share_its_position(backbone, config):
    """The mean over the cells of a patch is then what the patch has."""
    some = images(1)
    fine = replace(config, fine=2)
    clean, back = (Decomposed(backbone, fine, position=share)(some, SIZE) for share in (0, 1))
    plain = [Decomposed(backbone, config, position=share)(some, SIZE) for share in (0, 1)]
    added = back.patches - clean.patches
    torch.testing.assert_close(added, to_cells(plain[1].patches - plain[0].patches, 2), atol=1e-5, rtol=1e-4)
    srt = SrtBackbone(backbone, SrtConfig(max_shift=4, step=4, fine=2))
    raw = OnePass("raw", backbone)
    method = WithRemoved(OnePass("srt@fine2", srt, cost=srt.passes), raw, 1.0)
    found = method(some, SIZE)
    assert found.grid == raw.grid_for(SIZE).finer(2) and method.cost == srt.passes + 1
    torch.testing.assert_close(cell_means(found, 2), raw(some, SIZE).patches, atol=1e-5, rtol=1e-4)


def test_zoomed_methods_take_zoomed_raw_features(backbone, denoised):
    makers = {
        "raw": lambda _: OnePass("raw", denoised.backbone),
        "denoised": lambda name: OnePass(name.unzoomed, denoised),
    }
    method, some = named_method(parse_name("denoised@2x+position1"), makers), images(1)
    assert method.name == "denoised@2x+position1" and method.cost == 8
    torch.testing.assert_close(method(some, SIZE).patches, Enlarged(makers["raw"](None), 2)(some, SIZE).patches)
    method = named_method(parse_name("raw-tiles+sincos0.5".removeprefix("raw-")), makers)
    assert method.name == "tiles+sincos0.5" and method.cost == 4 and method(some, SIZE).patches.isfinite().all()


def test_the_embedding_of_a_patch_by_hand():
    grid = PatchGrid.of((8 * GRID, 8 * GRID), 8)
    found = sincos_embedding(grid, 8)
    assert found.shape == (GRID, GRID, 8)
    row, column = 3, 20
    slow = torch.tensor([10000**0.5])
    for place, waves in ((row, found[row, column, :4]), (column, found[row, column, 4:])):
        expected = torch.tensor([place, place / slow, place, place / slow])
        expected = torch.cat([expected[:2].sin(), expected[2:].cos()])
        torch.testing.assert_close(waves, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.norm(dim=-1), torch.full((GRID, GRID), 2.0))
    padded = sincos_embedding(grid, 11)
    assert torch.equal(padded[..., :8], found) and padded[..., 8:].eq(0).all()


def test_the_embedding_depends_on_the_place_in_the_image_and_not_on_the_number_of_patches():
    coarse, fine = PatchGrid.of((24, 24), 8), PatchGrid.of((24, 24), 8).finer(3)
    torch.testing.assert_close(sincos_embedding(fine, 16)[1::3, 1::3], sincos_embedding(coarse, 16))


def test_the_embedding_is_as_long_as_the_features_and_the_same_for_all_images():
    def wide(features):
        patches, prefix = features.patches.repeat(1, 1, 1, 4) * 3, features.prefix.repeat(1, 1, 4)
        return Features(patches=patches, prefix=prefix, grid=features.grid)

    method, some = MeanColours(give=wide), images(2)
    plain = method(some, (32, 48)).patches
    whole, half = (WithSinCos(method, share)(some, (32, 48)).patches - plain for share in (1.0, 0.5))
    torch.testing.assert_close(whole.norm(dim=-1).mean(dim=(1, 2)), plain.norm(dim=-1).mean(dim=(1, 2)))
    torch.testing.assert_close(half, whole / 2)
    directions = functional.normalize(whole, dim=-1)
    torch.testing.assert_close(directions[0], directions[1])
    alone = WithSinCos(method, 1.0)(some[1:], (32, 48)).patches
    torch.testing.assert_close(alone[0], (plain + whole)[1])


def test_features_of_other_patches_or_channels_are_not_subtracted():
    with pytest.raises(
        BackboneError, match=r"denoised has 3 channels on patches of 8 px .*raw has .* 4 px .*\+sincos1"
    ):
        WithRemoved(MeanColours(name="denoised"), MeanColours(patch=4), 1.0)


def test_stage_1_runs_once_for_all_positions(backbone, config, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(
        "dvt.methods.decomposed.decompose_image", lambda *given: runs.append(1) or decompose_image(*given)
    )
    plain, half, fine = (
        Decomposed(backbone, each, position=share)
        for each, share in ((config, 0.0), (config, 0.5), (replace(config, fine=2), 1.0))
    )
    embedded = WithSinCos(Decomposed(backbone, config), 1.0)
    monkeypatch.setattr("dvt.methods.cache.EXPENSIVE", 2)
    methods, some = [plain, half, fine, embedded], images()
    kept = [cached(method, tmp_path, methods)(some, SIZE) for method in methods]
    assert len(runs) == len(some)
    for method, features in zip(methods, kept, strict=True):
        assert torch.equal(features.patches, method(some, SIZE).patches), method.name
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3 * len(some), "the embedding is not stored"
    stored = cached(embedded, tmp_path)
    assert isinstance(stored, WithSinCos) and isinstance(stored.method, Cached)
    assert fingerprint(stored) == fingerprint(embedded) and stored.name == "decomposed+sincos1"
    assert without_cache(stored).method is embedded.method


@pytest.mark.parametrize(
    "name",
    [
        "srt+position0.5", "decomposed:fast@fine4+position0.25", "denoised:a.b+c+position1",
        "denoised:a@2x+position0.1", "srt-tiles+position1", "raw+sincos1", "raw@2x+sincos0.0001", "tiles@3x+sincos1",
        "decomposed@2x+sincos0.5",
    ],
)  # fmt: skip
def test_names_with_position(name):
    parsed = parse_name(name)
    assert parsed.full == name and parsed.position.suffix == f"+{name.rpartition('+')[2]}"
    assert family(name) is family(name.rpartition("+")[0]) and not is_zoom(name)


def test_a_name_without_position_has_none():
    assert parse_name("denoised:a+b").variant == "a+b" and parse_name("denoised:a+b").position is None
    assert family("decomposed+position0.5") is Family.decomposed
    assert Position(PositionKind.sincos, 0.5).suffix == "+sincos0.5"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("raw+position1", r"raw features have nothing removed. Leave out \+position1, or give \+sincos1"),
        ("raw@2x+position1", "nothing removed"),
        ("decomposed@2x+position0.5", r"not averaged. Leave out \+position0.5, or give \+sincos0.5"),
        ("decomposed-tiles+position0.5", "not averaged"),
        ("srt+position0", "There are raw"),
        ("srt+position2", "There are raw"),
        ("srt+position", "There are raw"),
        ("srt+position0.50", "There are raw"),
        ("srt+position0.12345", "There are raw"),
        ("srt+cos1", "There are raw"),
        ("decomposed+position0.5@fine4", "There are raw"),
    ],
)
def test_positions_that_make_no_sense(name, part):
    with pytest.raises(ConfigError, match=part):
        parse_name(name)


def test_one_position_for_all_names():
    names = ["raw", "tiles", "srt@fine2", "decomposed@2x", "denoised:a+position0.5"]
    removed = positioned_names(names, 0.5, PositionKind.removed)
    assert removed == ["raw", "tiles", "srt@fine2+position0.5", "decomposed@2x", "denoised:a+position0.5"]
    assert positioned_names(names[:4], 1.0, PositionKind.sincos)[2:] == ["srt@fine2+sincos1", "decomposed@2x+sincos1"]
    for wrong, share, kind, part in (
        (names, 1.0, PositionKind.removed, r"denoised:a\+position0.5 says another position"),
        (names, 0.5, PositionKind.sincos, r"denoised:a\+position0.5 says another position"),
        (["raw", "tiles"], 0.5, PositionKind.sincos, "none of these"),
        (["raw", "decomposed@2x"], 0.5, PositionKind.removed, "none of these"),
        (["srt"], 1.5, PositionKind.removed, "from 0 to 1"),
        (["srt"], -0.1, PositionKind.removed, "from 0 to 1"),
        (["srt"], float("nan"), PositionKind.removed, "from 0 to 1"),
        (["srt"], 0.33333, PositionKind.removed, "four decimals"),
    ):
        with pytest.raises(ConfigError, match=part):
            positioned_names(wrong, share, kind)
