"""Names of methods: what they stand for, and which are refused."""

import pytest
from mean_colours import MeanColours

from dvt.decomposition.quality import qualities
from dvt.errors import ConfigError
from dvt.methods.names import BASES, Family, family, finer_names, is_zoom, named_method, parse_name, parse_names
from dvt.methods.zoom import Enlarged, Tiles


def made(name):
    """The method of a name, each base a `MeanColours` under the name that its maker gets."""
    return named_method(parse_name(name), dict.fromkeys(BASES, lambda parsed: MeanColours(name=parsed.unzoomed)))


@pytest.mark.parametrize(
    ("name", "kind", "factor"),
    [
        ("raw", MeanColours, 1),
        ("raw@3x", Enlarged, 3),
        ("tiles", Tiles, 2),
        ("tiles@3x", Tiles, 3),
        ("srt-tiles", Tiles, 2),
        ("denoised@2x", Enlarged, 2),
        ("denoised:a.b_c-1", MeanColours, 1),
        ("denoised:mine@2x", Enlarged, 2),
        ("denoised:mine-tiles@3x", Tiles, 3),
        ("decomposed:fast", MeanColours, 1),
        ("decomposed:fast@fine4", MeanColours, 1),
    ],
)
def test_names_stand_for_methods(name, kind, factor):
    method = made(name)
    assert isinstance(method, kind) and method.name == name and method.cost == factor**2


def test_parts_of_a_name():
    parsed = parse_name("decomposed:fast@fine4")
    assert (parsed.base, parsed.variant, parsed.fine, parsed.zoom, parsed.tiles) == ("decomposed", "fast", 4, 1, False)
    parsed = parse_name("denoised:x-tiles")
    assert (parsed.base, parsed.variant, parsed.fine, parsed.zoom, parsed.tiles) == ("denoised", "x", 1, 2, True)


def test_every_quality_is_a_method_and_others_are_not():
    assert [each.variant for each in parse_names([f"decomposed:{quality}" for quality in qualities()])] == qualities()
    with pytest.raises(ConfigError, match=r"there is no quality 'fats': give one of .*fast"):
        parse_names(["raw", "decomposed:fats"])


def test_names_on_file_have_a_family_even_where_their_quality_is_gone():
    assert family("decomposed:of_old@fine4") is Family.decomposed
    assert family("denoised:mine@2x") is family("distilled") is Family.trained
    assert is_zoom("raw@2x") and is_zoom("tiles@3x") and not is_zoom("raw") and not is_zoom("denoised@2x")


def test_methods_without_finer_features_say_so():
    with pytest.raises(ConfigError, match="raw has no features finer than a patch; srt and decomposed have"):
        parse_name("raw@fine4")


def test_one_number_of_cells_for_all_names():
    names = ["raw", "srt", "decomposed", "decomposed:fast@fine4", "tiles", "srt-tiles", "decomposed@2x"]
    assert finer_names(names, 1) == names
    finer = ["raw", "srt@fine4", "decomposed@fine4", "decomposed:fast@fine4", "tiles", "srt-tiles", "decomposed@2x"]
    assert finer_names(names, 4) == finer == finer_names(finer, 4)
    with pytest.raises(ConfigError, match=r"fine=2 method=\[raw,srt@fine4\]: srt@fine4 says another number of cells"):
        finer_names(["raw", "srt@fine4"], 2)
    with pytest.raises(ConfigError, match=r"none of these has features finer than a patch; srt and decomposed have"):
        finer_names(["raw", "srt-tiles", "denoised"], 2)


@pytest.mark.parametrize("name", ["raw:fast", "srt:fast", "srt:a-tiles"])
def test_methods_without_variants_say_so(name):
    with pytest.raises(ConfigError, match="has no variants; decomposed, denoised, distilled have"):
        parse_name(name)


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
        "decomposed:",
        "decomposed:a b",
        "decomposed:fast@fine2@2x",
        "decomposed@fine2:fast",
        "tiles:a",
        ":fast",
    ],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="There are raw"):
        parse_name(name)


def test_methods_are_given_once_each():
    assert [each.base for each in parse_names(["raw", "tiles@4x", "denoised@2x"])] == ["raw", "raw", "denoised"]
    for wrong in ([], ["raw", "raw"]):
        with pytest.raises(ConfigError, match="each once"):
            parse_names(wrong)
