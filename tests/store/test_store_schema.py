import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.errors import StoreError
from dvt.field import NodeGrid
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.store.schema import FieldMeta, StoreMeta

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None)
@given(solver=st.dictionaries(st.text(max_size=5), JSON, max_size=4), layer=st.integers(-12, 12), norm=st.booleans())
def test_json_there_and_back_is_identity(solver, layer, norm):
    meta = StoreMeta(
        spec=FeatureSpec(
            backbone="b", weights_hash="w", layer=layer, norm=norm, grid=PatchGrid.of((42, 56), 14, 7), channels=3
        ),
        solver=solver, quality="tiny", code_version="0", dtype="float32", arrays=("raw", "clean", "artifact"),
    )  # fmt: skip
    again = StoreMeta.from_json(meta.to_json())
    assert again == meta
    assert meta.differences(again) == []
    assert again.solver_sha256 == meta.solver_sha256


def test_every_differing_setting_is_named_with_both_values(meta):
    other = replace(
        meta,
        spec=replace(meta.spec, backbone="vit_base", norm=False, grid=PatchGrid.of((64, 64), 16, 8)),
        dtype="float32",
        solver={"name": "closed_form", "sweeps": 9, "field": {"nodes": 28}, "warm": True},
        code_version="9",
    )
    assert meta.differences(other) == [
        "backbone: 'vit_tiny_patch16_224.augreg' in the store, 'vit_base' in the request",
        "norm: True in the store, False in the request",
        "grid: 64 x 48 px, 4 x 3 patches of 16 px every 16 px in the store,"
        " 64 x 64 px, 7 x 7 patches of 16 px every 8 px in the request",
        "solver.sweeps: 8 in the store, 9 in the request",
        "solver.field.ridge: 0.5 in the store, nothing in the request",
        "dtype: 'float16' in the store, 'float32' in the request",
        "solver.warm: nothing in the store, True in the request",
    ]


def test_equal_settings_have_one_spelling(meta):
    one = replace(meta, solver={"sizes": (1, 2)}, arrays=("clean", "raw"))
    two = replace(meta, solver={"sizes": [1, 2]}, arrays=("raw", "clean"), code_version="another")
    assert one.differences(two) == [] and one.solver_sha256 == two.solver_sha256


def test_a_field_is_kept_and_makes_a_newer_schema(meta):
    held = replace(meta, field=FieldMeta(NodeGrid((8, 6)), samples_per_patch=4))
    assert StoreMeta.from_json(held.to_json()) == held
    assert held.shapes == {"raw": (4, 3, 5), "clean": (4, 3, 5), "field": (8, 6, 5)}
    written, before = json.loads(held.to_json()), json.loads(meta.to_json())
    assert written.pop("field") == {"nodes": [8, 6], "samples_per_patch": 4}
    assert (written.pop("schema"), before.pop("schema")) == (
        2,
        1,
    ) and written == before  # an older dvt reads the latter
    assert meta.differences(held) == ["field: None in the store, '8 x 6 nodes' in the request"]


def test_shape_is_the_grid_and_the_channels(meta):
    assert meta.shape == (4, 3, 5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dtype": "bfloat16"}, "give one of float16, float32"),
        ({"arrays": ()}, "give some of raw, clean, artifact"),
        ({"arrays": ("raw", "raw")}, "each once"),
        ({"arrays": ("raw", "noise")}, "noise"),
        ({"solver": {"a": float("nan")}}, "not plain JSON"),
        ({"solver": {"a": object()}}, "not plain JSON"),
    ],
)
def test_settings_that_no_store_has_are_refused(meta, change, text):
    with pytest.raises(StoreError, match=text):
        replace(meta, **change)


@pytest.mark.parametrize(("change", "text"), [({"channels": 0}, "at least 1"), ({"weights_hash": None}, "the hash")])
def test_features_that_no_store_has_are_refused(meta, change, text):
    with pytest.raises(StoreError, match=text):
        replace(meta, spec=replace(meta.spec, **change))


def test_settings_that_have_another_hash_differ(meta):
    """1 and 1.0, None and no entry: the sidecars repeat the hash, and a shard with another one counts as damaged."""
    first, second = ({"sweeps": 1}, {"sweeps": 1.0, "warm": None})
    assert len(replace(meta, solver=first).differences(replace(meta, solver=second))) == 2


def edited(meta, **changes):
    return json.dumps(json.loads(meta.to_json()) | changes)


def test_a_newer_schema_says_upgrade(meta):
    with pytest.raises(StoreError, match=r"made by a newer dvt \(schema 3; this one reads 2\): upgrade dvt"):
        StoreMeta.from_json(edited(meta, schema=3))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schema": None}, "schema version is None"),
        ({"schema": 0}, "schema version is 0"),
        ({"kind": "checkpoint"}, "does not belong to a feature store"),
        ({"solver": {"sweeps": 9}}, "was edited"),
        ({"layer": "last"}, "layer is 'last', not of type int"),
        ({"norm": 1}, "norm is 1, not of type bool"),
        ({"grid": {"image_hw": [64], "patch": 16, "stride": 16}}, "damaged or was edited"),
        ({"grid": {"image_hw": [64, 48], "patch": 16, "stride": 15}}, "does not divide"),
        ({"extra": 1}, "extra"),
        ({"field": {"nodes": [8, 6.5], "samples_per_patch": 4}}, "not of whole numbers"),
        ({"field": {"nodes": [8, 1], "samples_per_patch": 4}}, "at least 2 each"),
        ({"field": {"nodes": [8, 6]}}, "samples_per_patch"),
        ({"arrays": None}, "damaged or was edited"),
    ],
)
def test_edited_meta_is_refused(meta, changes, text):
    with pytest.raises(StoreError, match=text):
        StoreMeta.from_json(edited(meta, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_what_is_not_a_meta_is_refused(text):
    with pytest.raises(StoreError):
        StoreMeta.from_json(text)
