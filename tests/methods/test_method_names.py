"""Names of methods: what they stand for, and which are refused."""

import pytest
from mean_colours import MeanColours

from dvt.errors import ConfigError
from dvt.methods.names import BASES, bases_of, named_method
from dvt.methods.zoom import Enlarged, Tiles


@pytest.mark.parametrize(
    ("name", "kind", "factor"),
    [
        ("raw", MeanColours, 1),
        ("raw@3x", Enlarged, 3),
        ("tiles", Tiles, 2),
        ("tiles@3x", Tiles, 3),
        ("srt-tiles", Tiles, 2),
    ],
)
def test_names_stand_for_methods(name, kind, factor):
    method = named_method(name, {base: (lambda _, base=base: MeanColours(name=base)) for base in BASES})
    assert isinstance(method, kind) and method.name == name and method.cost == factor**2


@pytest.mark.parametrize(("name", "expected"), [("decomposed", 1), ("decomposed@fine4", 4), ("srt@fine2", 2)])
def test_cells_per_patch_reach_the_method(name, expected):
    made = []
    named_method(name, {base: lambda fine: made.append(fine) or MeanColours() for base in BASES})
    assert made == [expected]


def test_methods_without_finer_features_say_so():
    with pytest.raises(ConfigError, match="raw has no features finer than a patch; srt and decomposed have"):
        bases_of(["raw@fine4"])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "row",
        "decomposed@fine1",
        "decomposed@fine",
        "fine4",
        "srt-tiles@fine2",
        "raw@1x",
        "raw@0x",
        "raw@x",
        "x-tiles",
        "raw-srt",
        "raw@2",
        "Raw",
        "a b",
    ],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="There are raw"):
        bases_of([name])


def test_methods_are_given_once_each():
    assert bases_of(["raw", "tiles@4x", "denoised@2x"]) == {"raw", "denoised"}
    for wrong in ([], ["raw", "raw"]):
        with pytest.raises(ConfigError, match="each once"):
            bases_of(wrong)
