"""Numbers of numpy and torch are taken where Python numbers are meant, by every public function."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dvt
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions
from dvt.numbers import plain_numbers
from dvt.views.config import ViewsConfig


@given(
    st.recursive(
        st.integers(0, 1), lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nested_values_become_plain_and_equal(value):
    def wrapped(each):
        match each:
            case int():
                return np.int64(each)
            case list() | tuple():
                return type(each)(map(wrapped, each))
        return {name: wrapped(entry) for name, entry in each.items()}

    assert plain_numbers(wrapped(value)) == value
    assert json.dumps(plain_numbers(wrapped(value))) == json.dumps(value)
    assert plain_numbers(value) is value


def test_what_holds_no_such_number_is_left_alone():
    array, tensor = np.zeros(3), torch.zeros(3)
    for value in (array, tensor, [tensor, "a"], (1, None), {"a": array}, ViewsConfig(), int, open):
        assert plain_numbers(value) is value
    assert plain_numbers(torch.tensor(2.5)) == 2.5 and plain_numbers(np.True_) is True


@pytest.mark.other_types
def test_options_are_looked_into_and_checked_again():
    options = plain_numbers(ListOptions(seed=np.int64(3)))
    assert type(options.seed) is int and options == ListOptions(seed=3)
    nested = load_quality("tiny", {"views": {"num_views": np.int32(5)}, "fine": torch.tensor(2)})
    assert type(nested.views.num_views) is int and nested == load_quality("tiny", {"num_views": 5, "fine": 2})

    @dataclass
    class Foreign:
        count: object

    foreign = Foreign(np.int64(3))
    assert plain_numbers(foreign) is foreign, "objects of others are not rebuilt"


@pytest.mark.other_types
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, torch.tensor])
def test_from_the_vit_to_the_store(kind, tmp_path):
    plain = dvt.load_backbone("vit_micro", layer=3, image_size=[32, 48], device="cpu")
    backbone = dvt.load_backbone("vit_micro", layer=kind(3), image_size=[kind(32), kind(48)], device="cpu")
    assert backbone.spec == plain.spec and json.dumps(backbone.spec.to_json()) == json.dumps(plain.spec.to_json())
    image = torch.rand(3, 40, 60)
    found, same = (
        dvt.decompose(image, plain, "tiny", seed=number(7), num_views=number(2), fine=number(2))
        for number in (int, kind)
    )
    assert torch.equal(found.clean, same.clean) and torch.equal(found.fine, same.fine)
    Image.effect_noise((40, 60), 60).convert("RGB").save(tmp_path / "a.png")
    options = ListOptions(seed=kind(7))
    outcome = dvt.decompose_list(dvt.find_images(tmp_path), backbone, tmp_path / "s", load_quality("tiny"), options)
    assert outcome.done == 1 and dvt.FeatureStore.open(tmp_path / "s").meta.spec == plain.spec
    assert dvt.PatchGrid.of((kind(32), kind(48)), kind(16)) == plain.grid
    assert dvt.seed_for(kind(3), "a") == dvt.seed_for(3, "a")
    with pytest.raises(dvt.DvtError, match=r"views\.num_views=0: give at least 1"):
        dvt.decompose(image, backbone, num_views=kind(0))
