"""Stage 1 for one image with a real ViT, and what bad input gets."""

import pickle

import pytest
import torch
from PIL import Image
from planted import PlantedBackbone, coordinate_image
from reporters import ActAt, Collect

import dvt
from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig, Encoding, Solver
from dvt.decomposition.quality import load_quality, qualities
from dvt.decomposition.run import decompose_image
from dvt.errors import BackboneError, ConfigError, DecompositionError, DvtError, GeometryError, ImageError
from dvt.field import Field
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.views.config import Coordinates, Layout, Source


@pytest.fixture(scope="module")
def vit():
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=96, device="cpu")


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 150, 120, generator=torch.Generator().manual_seed(0))


def test_public_api_with_a_real_vit(vit, image, tmp_path):
    Image.fromarray((image.permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "a.png")
    result = dvt.decompose(tmp_path / "a.png", vit, quality="tiny", seed=3)
    assert result.raw.shape == result.clean.shape == result.artifact.shape == result.residual.shape == (6, 6, 192)
    full_view = resize(dvt.read_image(tmp_path / "a.png"), (96, 96))  # stage 1 clips nothing, as the original
    torch.testing.assert_close(result.raw, vit(full_view[None]).patches[0], atol=1e-4, rtol=1e-4)
    assert result.diagnostics["num_views"] == 8
    assert result.grid.hw == (6, 6)


@pytest.mark.parametrize("solver", [member.value for member in Solver])
def test_the_same_seed_gives_the_same_result_and_another_another(vit, image, solver):
    torch.manual_seed(1)
    one = dvt.decompose(image, vit, quality="tiny", seed=5, solver=solver)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = dvt.decompose(image, vit, quality="tiny", seed=5, solver=solver)
    other = dvt.decompose(image, vit, quality="tiny", seed=6, solver=solver)
    assert torch.equal(one.clean, two.clean) and torch.equal(one.artifact, two.artifact)
    assert not torch.allclose(one.clean, other.clean, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random state is his own


def test_a_dense_stride_gives_a_finer_map(image):
    dense = load_backbone("vit_tiny_patch16_224", weights="random", image_size=96, stride=8, device="cpu")
    result = dvt.decompose(image, dense, quality="tiny")
    assert result.clean.shape == (11, 11, 192)
    coarse = dvt.decompose(image, dense, quality="tiny", samples_per_patch=1)
    assert not torch.allclose(coarse.clean, result.clean, atol=1e-4)


def test_the_clean_feature_of_a_patch_is_the_mean_of_f_over_it():
    """Of a parabola, whose mean over four evenly spaced places is known."""

    class Parabola(Field):
        def at(self, image_xy):
            return image_xy.square()

    grid = PatchGrid.of((64, 128), 16)
    centre = grid.centres_xy.square()
    torch.testing.assert_close(Parabola().read(grid), centre)
    torch.testing.assert_close(Parabola(samples_per_patch=4).read(grid.centres_xy), centre)
    spread = torch.tensor([16 / 128, 16 / 64]).square() * (1 - 1 / 16) / 12
    torch.testing.assert_close(Parabola(samples_per_patch=4).read(grid), centre + spread)
    many = PatchGrid.of((512, 512), 1)  # more places than are evaluated at a time
    torch.testing.assert_close(Parabola().read(many), many.centres_xy.square())


@pytest.mark.parametrize("solver", [member.value for member in Solver])
@pytest.mark.parametrize("samples_per_patch", [1, 4])
def test_the_field_read_on_the_full_view_is_the_clean_map(vit, image, solver, samples_per_patch):
    result = dvt.decompose(image, vit, quality="tiny", solver=solver, samples_per_patch=samples_per_patch)
    assert torch.equal(result.field.read(result.grid), result.clean)
    if samples_per_patch == 1:
        torch.testing.assert_close(result.field.read(result.grid.centres_xy), result.clean, atol=1e-5, rtol=1e-5)
    copy = pickle.loads(pickle.dumps(result))  # data, not a closure
    assert torch.equal(copy.field.read(result.grid), result.clean)


def test_the_field_of_the_closed_form_is_its_nodes(vit, image):
    field = dvt.decompose(image, vit, quality="tiny").field
    assert field.values.shape == (field.nodes.num_nodes, 192)
    torch.testing.assert_close(field.read(torch.tensor([[0.0, 0.0], [1.0, 1.0]])), field.values[[0, -1]])


@pytest.mark.parametrize(
    ("places", "text"),
    [
        (torch.zeros(5, 3), r"shape \(5, 3\): expected \(\.\.\., 2\)"),
        (torch.tensor([[10.0, 0.5]]), r"from 0.5 to 10: expected \[0, 1\].*Divide pixels"),
        (torch.tensor([[float("nan"), 0.5]]), r"expected \[0, 1\]"),
    ],
)
@pytest.mark.other_types
def test_places_outside_the_image_are_refused(vit, image, places, text):
    with pytest.raises(GeometryError, match=text):
        dvt.decompose(image, vit, quality="tiny").field.read(places)


@pytest.mark.parametrize("solver", Solver)
def test_fine_is_f_at_the_cells_and_changes_nothing_else(vit, image, solver):
    options = {"num_views": 6, "solver": solver.value, "num_steps": 5, "nodes_per_patch": 3, "encoding": "torch"}
    one, three = (dvt.decompose(image, vit, quality="tiny", fine=fine, **options) for fine in (1, 3))
    assert three.fine_grid == three.grid.finer(3) and three.fine.shape == (18, 18, 192)
    assert torch.equal(three.fine, three.field.read(three.fine_grid))
    assert one.fine_grid == one.grid and torch.equal(one.fine, one.clean)
    for name in ("raw", "clean", "artifact", "residual"):
        assert torch.equal(getattr(one, name), getattr(three, name))
    assert torch.equal(three.residual, three.raw - three.clean - three.artifact)


def test_cells_finer_than_the_nodes_are_warned_of(vit, image, caplog):
    dvt.decompose(image, vit, quality="tiny", num_views=4, nodes_per_patch=2, fine=2)
    assert not caplog.records
    dvt.decompose(image, vit, quality="tiny", num_views=4, nodes_per_patch=2, fine=3)
    assert [r.message.split(",")[0] for r in caplog.records] == ["fine=3: F has 2 x 2 nodes a patch"]


@pytest.mark.parametrize(
    ("fine", "text"),
    [
        (0, "fine=0: give at least 1"),
        (1.5, "fine=1.5: give a value of type int"),
        ("4", "fine='4': give a value of type int"),
        (True, "fine=True: give a value of type int"),
        (1000, r"fine=1000: 6000 x 6000 cells of 0.016 px need 144 GB for every 1000 channels, more than 8"),
    ],
)
def test_numbers_of_cells_that_make_no_sense_are_refused(vit, image, fine, text):
    with pytest.raises(ConfigError, match=text):
        dvt.decompose(image, vit, quality="tiny", fine=fine)


def test_features_that_are_not_finite_are_named():
    class Broken(PlantedBackbone):
        def __call__(self, images):
            features = super().__call__(images)
            features.patches[0, 0, 0, 0] = float("nan")
            return features

    with pytest.raises(DecompositionError, match=r"NaN or infinite in 2 of 42 views.*precision=fp16"):
        dvt.decompose(coordinate_image(), Broken())


def test_an_image_smaller_than_a_patch_is_refused(vit):
    with pytest.raises(ImageError, match=r"1 x 1 px, smaller than one patch of 16 px"):
        dvt.decompose(torch.rand(3, 1, 1), vit)


def test_qualities():
    assert qualities() == ["best", "draft", "fast", "paper", "reference", "tiny"]
    fast, paper, reference = (load_quality(name) for name in ("fast", "paper", "reference"))
    assert fast == DecomposeConfig()
    assert (paper.solver, paper.views.num_views, paper.gradient.num_steps) == (Solver.gradient, 768, 20_000)
    assert paper.views.coordinates is Coordinates.centre
    assert {each.views.layout for each in (paper, reference)} == {Layout.random}, "as in the paper"
    draft, best = load_quality("draft"), load_quality("best")
    assert draft.views.num_views < fast.views.num_views < best.views.num_views
    assert reference.views.coordinates is Coordinates.corner and reference.views.source is Source.squashed
    assert (reference.gradient.num_steps, reference.gradient.loss_scale) == (25_000, 1024)
    with pytest.raises(ConfigError, match="best, draft, fast, paper, reference, tiny"):
        load_quality("good")


def test_single_options_by_name():
    config = load_quality(
        "tiny", {"num_views": 5, "solver": "gradient", "views": {"area_min": 0.2}, "encoding": "torch"}
    )
    assert (config.views.num_views, config.views.area_min) == (5, 0.2)
    assert config.solver is Solver.gradient and config.encoding is Encoding.torch
    assert load_quality("fast", {"outlier_scale": 3}).closed_form.outlier_scale == 3.0


def test_options_that_are_right_together_only():
    config = load_quality("fast", {"area_min": 0.6, "area_max": 0.9, "base_resolution": 100, "max_resolution": 2000})
    assert (config.views.area_min, config.views.area_max, config.gradient.hash_grid.base_resolution) == (0.6, 0.9, 100)


def test_nonsense_numbers_are_refused():
    for name in ("smoothness", "learning_rate", "weight_decay", "outlier_scale"):
        for value in (-1.0, float("nan")):
            with pytest.raises(ConfigError, match=name):
                load_quality("fast", {name: value})


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_a_callers_no_grad_does_not_reach_the_gradient_solver(vit, image, around):
    plain = dvt.decompose(image, vit, quality="tiny", solver="gradient")
    with around():
        image = image + 0
        inside = dvt.decompose(image, vit, quality="tiny", solver="gradient")
    assert torch.equal(inside.clean, plain.clean)


@pytest.mark.other_types
def test_what_is_not_a_backbone_is_refused(image):
    with pytest.raises(BackboneError, match="load_backbone"):
        dvt.decompose(image, "dinov2_base")


def test_large_images_need_leave(vit, tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "large.png")
    with pytest.raises(ImageError, match="max_pixels=20000"):
        dvt.decompose(tmp_path / "large.png", vit, quality="tiny", max_pixels=10_000)
    dvt.decompose(tmp_path / "large.png", vit, quality="tiny", max_pixels=20_000)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_vews": 5}, "did you mean num_views"),
        ({"solver": "magic"}, "closed_form, gradient"),
        ({"num_views": "many"}, "views.num_views='many': give a value of type int"),
        ({"num_views": True}, "type int"),
        ({"views": 5}, "is a group of options"),
        ({"views": {"area_mim": 0.1}}, "views.area_min"),
        ({"num_views": 0}, "give at least 1"),
    ],
)
def test_options_that_do_not_exist_are_refused_with_the_nearest(options, text):
    with pytest.raises(ConfigError) as error:
        load_quality("fast", options)
    assert text in str(error.value)
    assert isinstance(error.value, DvtError)


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ({}, (3, "solutions", "stage 1, closed form")),
        ({"solver": "gradient", "gradient": {"num_steps": 7}}, (7, "steps", "stage 1, neural field")),
    ],
)
def test_progress_is_reported_and_an_error_of_the_reporter_ends_the_work(vit, image, options, solver):
    config = load_quality("tiny", {"views": {"num_views": 5, "held_out_views": 2}, "batch_size": 4, **options})
    silent = decompose_image(image, vit, config, 0)
    seen = Collect()
    watched = decompose_image(image, vit, config, 0, seen)
    assert seen.tasks == [(8, "views", "stage 1, features of views"), solver] and seen.num_done == solver[0]
    assert torch.equal(silent.clean, watched.clean)
    for unit, step in (("views", 4), (solver[1], 1)):

        def stop():
            raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            decompose_image(image, vit, config, 0, ActAt(step, stop, unit))
