"""Denoisers finer than the patches, and at another image size than the store's: both read F at another grid."""

from dataclasses import replace

import pytest
import torch

from dvt import __version__
from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.denoiser.config import DenoiserConfig, Kind, PairsConfig, Raw, RidgeConfig, TrainConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser, cells_to_map, map_to_cells
from dvt.denoiser.online import train_from_images
from dvt.denoiser.pairs import make_pair_set
from dvt.denoiser.train import train_denoiser
from dvt.distillation.distill import distill
from dvt.errors import ConfigError, StoreError, WeightsError
from dvt.export.fixed_size import fixed_size
from dvt.field import NodeGrid
from dvt.grid import PatchGrid
from dvt.images import find_images
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, FieldMeta, StoreMeta, StoreWriter
from dvt.training.config import Missing
from dvt.training.data import Draw, Prepared
from dvt.training.sources import open_sources
from dvt.weights.build import load_denoiser
from dvt.weights.convert import convert


@pytest.fixture(scope="module")
def fine_store(tmp_path_factory, backbone, image_folder):
    """As `store`, with F."""
    path = tmp_path_factory.mktemp("stores") / "fine"
    config = load_quality("tiny", {"num_views": 3, "fine": 2})
    decompose_list(find_images(image_folder), backbone, path, config, ListOptions())
    return path


@pytest.fixture(scope="module")
def larger():
    """The same ViT at another size and aspect."""
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=(96, 64), device="cpu")


def sources_of(store, backbone, folder, fine):
    images = find_images(folder)
    return open_sources([store], backbone.spec, images, missing=Missing.error, group="pairs", fine=fine, any_grid=True)


@pytest.mark.parametrize("fine", [1, 2, 3])
def test_cells_and_maps_are_the_same_numbers(fine):
    finer = torch.randn(2, 4 * fine, 3 * fine, 5)
    cells = map_to_cells(finer, fine)
    assert torch.equal(cells_to_map(cells, fine), finer)
    block = finer[1, 2 * fine : 3 * fine, fine : 2 * fine]  # the cells of the patch in row 2, column 1
    assert torch.equal(cells[1, 2, 1], block.flatten())


def test_a_field_that_is_linear_in_the_position_is_found_at_every_cell(tmp_path, options):
    """Raw features are the position of a patch plus a number of the image, and so is F at any position."""
    grid, nodes = PatchGrid.of((64, 96), 16), NodeGrid((3, 4))
    spec = FeatureSpec(
        backbone="vit_tiny_patch16_224", weights_hash="01", layer=11, norm=True, grid=grid, channels=2
    )  # fmt: skip
    meta = StoreMeta(
        spec=spec, solver={}, quality="planted", code_version=__version__, dtype="float32", field=FieldMeta(nodes, 2)
    )  # fmt: skip
    y, x = (torch.linspace(0, 1, count) for count in nodes.hw)
    at_nodes = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    with StoreWriter.open(tmp_path / "store", meta) as writer:
        for number in range(4):
            own = torch.tensor([3.0 * number, -(number**2)])
            raw = grid.centres_xy + own
            writer.put(f"{number}.png", {"raw": raw, "clean": raw, "field": at_nodes + own})
    config = options(
        denoiser=DenoiserConfig(kind=Kind.linear, fine=2), ridge=RidgeConfig(strengths=[1e-12])
    )  # fmt: skip
    assert train_denoiser([tmp_path / "store"], tmp_path / "out", config).metrics["val/mse"] < 1e-8
    denoiser, store = load_denoiser(tmp_path / "out"), FeatureStore.open(tmp_path / "store")
    for key in store:
        wanted = store[key].field.read(grid.finer(2))
        assert torch.allclose(denoiser(store[key].raw[None])[0], wanted, atol=1e-4)


@pytest.mark.parametrize("kind", [Kind.block, Kind.conv3x3, Kind.semantic_tokens])
def test_cells_start_as_copies_of_their_patch(kind):
    torch.manual_seed(0)
    fine = Denoiser(DenoiserConfig(kind=kind, fine=2), 64, (4, 4))
    coarse = Denoiser(DenoiserConfig(kind=kind), 64, (4, 4))
    coarse.load_state_dict({key: value for key, value in fine.state_dict().items() if not key.startswith("refine.")})
    raw = torch.randn(1, 4, 3, 64)
    with torch.no_grad():
        wanted = coarse(raw).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        assert torch.allclose(fine(raw), wanted, atol=1e-5)


def test_a_finer_denoiser_gives_cells_wherever_it_is_used(fine_store, tmp_path, options, backbone, image_folder):
    config = options(num_steps=3, denoiser=DenoiserConfig(fine=2))
    train_denoiser([fine_store], tmp_path / "out", config)
    loaded = load_denoiser(tmp_path / "out")
    assert loaded.config.fine == 2 and loaded.info.spec == backbone.spec
    assert not torch.equal(*loaded.refine.weight.detach().chunk(4)[:2])  # cells differ
    assert "(1, 8, 8, 192)" in (tmp_path / "out" / "README.md").read_text()
    denoised = DenoisedBackbone(backbone, loaded)
    images = torch.rand(2, 3, 64, 64)
    features = denoised(images)
    assert denoised.grid == features.grid == denoised.grid_for((64, 64)) == denoised.spec.grid == backbone.grid.finer(2)
    assert features.patches.shape == (2, 8, 8, 192)
    patches, _ = fixed_size(denoised)(images)
    assert torch.allclose(patches, features.patches, atol=1e-5)
    with pytest.raises(ConfigError, match=r"the teacher gives 8 x 8 cells .* denoiser.fine=1"):
        distill(find_images(image_folder), tmp_path / "distilled", teacher=denoised)
    with pytest.raises(WeightsError, match="this denoiser is finer than the patches"):
        convert(tmp_path / "out", tmp_path / "original.pth")


def test_what_is_learnt_is_f_at_the_cells(fine_store, image_folder, backbone):
    config = TrainConfig(denoiser=DenoiserConfig(fine=2), pairs=PairsConfig(raw=Raw.recomputed, flip_probability=1.0))
    sources = sources_of(fine_store, backbone, image_folder, fine=2)
    pairs = make_pair_set([*sources.pairs], sources, config, backbone, max_pixels=10**6)
    wanted = FeatureStore.open(fine_store)[pairs[3]["key"]].field.read(backbone.grid.finer(2))
    assert torch.allclose(pairs[3]["clean"].float(), wanted, atol=5e-3)  # kept in 16 bits
    assert torch.allclose(pairs[Draw(3, 0)]["clean"].float(), wanted.flip(1), atol=5e-3)


@pytest.mark.parametrize("denoiser", [{}, {"fine": 2, "layers": "all", "mixing": "linear"}, {"kind": "linear"}])
def test_at_another_size_f_is_read_there(fine_store, image_folder, tmp_path, options, larger, denoiser):
    raw = Raw.recomputed if not denoiser else Raw.computed
    config = options(num_steps=2, denoiser=DenoiserConfig.from_plain(denoiser), pairs={"raw": raw})
    images = find_images(image_folder)
    train_denoiser([fine_store], tmp_path / "out", config, backbone=larger, images=images)
    loaded = load_denoiser(tmp_path / "out")
    assert loaded.info.spec == larger.spec and loaded.grid_hw == (6, 4)
    config = replace(config, denoiser=loaded.config)
    sources = sources_of(fine_store, larger, image_folder, fine=loaded.config.fine)
    pairs = make_pair_set([*sources.pairs], sources, config, larger, max_pixels=10**6)
    if isinstance(pairs, Prepared):
        pairs.prepare(torch.device("cpu"))
    item = pairs[2]
    wanted = FeatureStore.open(fine_store)[item["key"]].field.read(larger.grid.finer(loaded.config.fine))
    assert torch.allclose(item["clean"].float(), wanted, atol=5e-3)


def test_f_is_needed_for_another_grid(store, fine_store, image_folder, tmp_path, options, backbone, larger):
    images = find_images(image_folder)
    with pytest.raises(StoreError, match=r"denoiser.fine=4 needs F .* store=NEW_FOLDER fine=4"):
        train_denoiser([store], tmp_path / "out", options(denoiser=DenoiserConfig(fine=4)))
    computed = options(pairs={"raw": Raw.computed})
    with pytest.raises(StoreError, match=r"96 x 64 px, 6 x 4 patches .* which does not hold F"):
        train_denoiser([store], tmp_path / "out", computed, backbone=larger, images=images)
    with pytest.raises(StoreError, match="grid: 64 x 64 px"):  # its raw features are of one size
        train_denoiser([fine_store], tmp_path / "out", options(), backbone=larger)
    with pytest.raises(ConfigError, match=r"denoiser.fine=2 needs a store that holds F"):
        train_from_images(images, tmp_path / "out", backbone, options(denoiser=DenoiserConfig(fine=2)))
    other = load_backbone("vit_tiny_patch16_224", weights="random", image_size=(96, 64), device="cpu", layer=5)
    with pytest.raises(StoreError, match="layer: 11 in the store, 5 in the request"):
        train_denoiser([fine_store], tmp_path / "out", computed, backbone=other, images=images)
