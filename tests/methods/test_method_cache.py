"""Cached: the same features bit by bit, of each picture once, and none that belong to another."""

from dataclasses import replace

import pytest
import torch
from mean_colours import MeanColours
from safetensors.torch import save

import dvt
from dvt.backbone.features import Features
from dvt.decomposition.quality import load_quality
from dvt.evaluation.patches import features_of
from dvt.files import DiskError
from dvt.methods.cache import Cached, without_cache
from dvt.methods.decomposed import Decomposed
from dvt.methods.method import Method, fingerprint
from dvt.methods.zoom import Enlarged, Tiles
from dvt.progress import SILENT

SIZE = (16, 24)


def random_images(count=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.rand(3, 20 + number, 30, generator=rng) for number in range(count)]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(one, other):
    return torch.equal(one.patches, other.patches) and torch.equal(one.prefix, other.prefix) and one.grid == other.grid


def test_a_picture_is_worked_out_once_and_its_features_stay_bit_identical(tmp_path):
    method = MeanColours()
    cached, some = Cached(method, tmp_path / "deep" / "cache"), random_images()
    first, again = cached(some, SIZE), cached(some, SIZE)
    assert same(first, MeanColours()(some, SIZE)) and same(again, first)
    assert method.seen == [3] and len(files(tmp_path)) == 3
    turned = cached(some[::-1], SIZE)
    assert torch.equal(turned.patches, first.patches.flip(0)) and method.seen == [3]


def test_pictures_that_are_new_are_worked_out_beside_those_that_are_not(tmp_path):
    method, some = MeanColours(), random_images(5)
    cached = Cached(method, tmp_path)
    cached(some[1:3], SIZE)
    assert same(cached(some, SIZE), MeanColours()(some, SIZE))
    assert method.seen == [2, 3]


def test_another_process_finds_them(tmp_path):
    some = random_images()
    first, method = Cached(MeanColours(), tmp_path)(some, SIZE), MeanColours()
    assert same(Cached(method, str(tmp_path))(some, SIZE), first) and method.seen == []


def test_an_evaluation_that_was_stopped_goes_on(tmp_path):
    method, some = MeanColours(), random_images(20)
    begun = features_of(Cached(method, tmp_path), iter(some), 20, SIZE, SILENT)
    next(begun)  # a batch of 16, and no more
    whole = list(features_of(Cached(method, tmp_path), iter(some), 20, SIZE, SILENT))
    assert method.seen == [16, 4]
    assert torch.equal(torch.cat([each.patches for each in whole]), MeanColours()(some, SIZE).patches)


@pytest.mark.parametrize("damage", [b"", b"garbage", None, save({"other": torch.zeros(1)})])
def test_a_damaged_file_is_replaced(tmp_path, damage):
    method, some = MeanColours(), random_images(2)
    cached = Cached(method, tmp_path)
    first = cached(some, SIZE)
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] if damage is None else damage)
    assert same(cached(some, SIZE), first)
    assert method.seen == [2, 1] and path.read_bytes() == whole


def test_methods_sizes_and_pictures_are_not_mixed(tmp_path):
    some = random_images(1)
    others = [MeanColours(), MeanColours(patch=4), Enlarged(MeanColours(), 2), Tiles(MeanColours(), 2)]
    for size in (SIZE, (24, 16)):
        for method in others:
            for picture in (*some, *random_images(1, seed=1)):
                assert same(Cached(method, tmp_path)([picture], size), method([picture], size))
    assert len(files(tmp_path)) == 2 * 4 * 2
    assert len({path.parent for path in files(tmp_path)}) == 4


def test_pictures_of_one_content_but_another_shape_are_not_mixed(tmp_path):
    method = MeanColours()
    cached, flat = Cached(method, tmp_path), torch.rand(3 * 20 * 30)
    wide, high = flat.reshape(3, 20, 30), flat.reshape(3, 30, 20)
    assert not torch.equal(cached([wide], SIZE).patches, cached([high], SIZE).patches)
    part = torch.rand(3, 40, 30)[:, ::2]  # not in one piece in memory
    assert same(cached([part], SIZE), method([part], SIZE)) and same(cached([part], SIZE), method([part], SIZE))


def test_other_options_and_other_versions_are_worked_out_anew(tmp_path, monkeypatch):
    class Options(MeanColours):
        def __init__(self):
            super().__init__()
            self.options = {"option": 1}

    some = random_images(1)
    Cached(MeanColours(), tmp_path)(some, SIZE)
    other, newer = Options(), MeanColours()
    Cached(other, tmp_path)(some, SIZE)
    monkeypatch.setattr("dvt.methods.cache.__version__", "99.0")
    Cached(newer, tmp_path)(some, SIZE)
    assert other.seen == newer.seen == [1]


def test_a_vit_without_class_token_is_kept_too(tmp_path):
    class Bare(MeanColours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            return Features(patches=features.patches, prefix=features.prefix[:, :0], grid=features.grid)

    cached, some = Cached(Bare(), tmp_path), random_images()
    assert same(cached(some, SIZE), cached(some, SIZE)) and cached(some, SIZE).prefix.shape == (3, 0, 3)


def test_it_stands_for_its_method(tmp_path):
    method = Enlarged(MeanColours(), 2)
    cached = Cached(method, tmp_path)
    assert (cached.name, cached.cost, cached.spec.channels) == ("raw@2x", 4, 3)
    assert fingerprint(cached) == fingerprint(method) and cached.grid_for(SIZE) == method.grid_for(SIZE)
    assert isinstance(cached, Method) and without_cache(cached) is method and without_cache(method) is method
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match=r"cannot write .*file"):
        Cached(MeanColours(), tmp_path / "file")(random_images(1), SIZE)


def test_methods_of_one_f_are_kept_after_one_run_of_stage_1(tmp_path):
    backbone, images = dvt.load_backbone("vit_micro", image_size=32), random_images()
    config = load_quality("tiny", {"num_views": 4})
    plain, fine = (Decomposed(backbone, replace(config, fine=number)) for number in (1, 2))
    other = Decomposed(backbone, config, seed=1)
    features = Cached(plain, tmp_path, [MeanColours(), plain, other, Cached(fine, tmp_path)])(images, (32, 48))
    assert same(features, plain(images, (32, 48))) and len(files(tmp_path)) == 2 * 3
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert same(Cached(fine, tmp_path, [plain])(images, (32, 48)), fine(images, (32, 48)))
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before, "nothing was left to do"
