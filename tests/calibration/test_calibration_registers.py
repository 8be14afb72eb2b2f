"""Test-time registers: neurons that write outliers are found, and what they write goes to an extra token."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

import dvt
from dvt.backbone.pruning import Pruning
from dvt.backbone.sources.timm_registers import RegisterReader
from dvt.calibration.config import CalibrationConfig, Method
from dvt.calibration.run import calibrate
from dvt.calibration.ways import measure_ways
from dvt.demo.images import write_images, write_pieces
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.errors import BackboneError, ConfigError, WeightsError
from dvt.export.fixed_size import fixed_size
from dvt.export.graph_files import trace
from dvt.weights.info import ModelInfo

BLOCK, NEURON = 2, 17
PLACES = (7, 22, 30)
"""Patches at which the position embedding makes the neuron fire, of a grid of 6 x 6."""
SIZE = 96


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    """18 pieces of six photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    return write_pieces(write_images(folder / "whole"), folder / "pieces")


@pytest.fixture(scope="module")
def clean_vit():
    return dvt.load_backbone("vit_micro", image_size=SIZE, norm=False, device="cpu")


@pytest.fixture(scope="module")
def vit():
    """A ViT with a register neuron, which fires at `PLACES` of 6 x 6 patches."""
    images = torch.rand(32, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    images[16:] = images[16:].mean(dim=(2, 3), keepdim=True) + 0.1 * (images[16:] - 0.5)
    there = torch.zeros(32, 36, dtype=torch.bool)
    there[:, PLACES] = True
    return plant(marked(16), BLOCK, images, there)


def plant(backbone, block, images, there, seed=3):
    """Give one neuron of a block the work to fire at some tokens, and to write 50 times a unit vector there.

    Args:
        there: (B, N), which patches of the images.
    """
    mlp = backbone.vit.blocks[block].mlp
    seen = []
    handle = mlp.fc1.register_forward_pre_hook(lambda module, given: seen.append(given[0][:, 1:]))
    backbone(images)
    handle.remove()
    spread = seen[0][~there].T.cov() + 0.01 * torch.eye(192)  # Fisher's discriminant
    difference = seen[0][there].mean(dim=0) - seen[0][~there].mean(dim=0)
    read = functional.normalize(torch.linalg.solve(spread, difference), dim=0)
    along = seen[0] @ read
    low, high = along[~there].max(), along[there].min()
    assert high > low, "one direction tells them apart"
    mlp.fc1.weight.data[NEURON] = 8 / (high - low) * read
    mlp.fc1.bias.data[NEURON] = -8 / (high - low) * (high + low) / 2
    written = torch.randn(192, generator=torch.Generator().manual_seed(seed))
    mlp.fc2.weight.data[:, NEURON] = 50 * functional.normalize(written, dim=0)
    return backbone


def marked(mark):
    """A ViT whose position embedding on 6 x 6 patches has a mark at `PLACES`."""
    backbone = dvt.load_backbone("vit_micro", image_size=SIZE, norm=False, device="cpu")
    vit, generator = backbone.vit, torch.Generator().manual_seed(3)
    prefix, patches = vit.pos_embed.data[:, :1], resampled(vit.pos_embed.data[:, 1:])
    patches[:, PLACES] += mark * functional.normalize(torch.randn(192, generator=generator), dim=0)
    vit.pos_embed.data = torch.cat([prefix, patches], dim=1)
    vit.patch_embed.grid_size, vit.patch_embed.img_size = (6, 6), (SIZE, SIZE)
    return backbone


def resampled(embedding):
    """(1, 196, C) to (1, 36, C)."""
    maps = embedding.reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    return functional.interpolate(maps, (6, 6), mode="bicubic", antialias=True).permute(0, 2, 3, 1).flatten(1, 2)


def quick(**options):
    return CalibrationConfig(num_images=18, windows=4, batch_size=16, method=Method.registers, **options)


@pytest.fixture(scope="module")
def found(vit, pieces):
    return calibrate(vit, pieces, quick()).denoiser


def norms(maps):
    return maps.norm(dim=-1).flatten(1)


def twin(network, images, neurons):
    """The patches of a ViT with registers, written out: loops over blocks, images and neurons."""
    tokens = network._pos_embed(network.patch_embed(images))
    tokens = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], dim=1)
    for number, block in enumerate(network.blocks):
        tokens = tokens + block.attn(block.norm1(tokens))
        hidden = block.mlp.act(block.mlp.fc1(block.norm2(tokens)))
        for image in hidden:
            for index in [index for at, index in neurons if at == number]:
                image[-1, index] = max(image[place, index].item() for place in range(1, len(image) - 1))
                for place in range(1, len(image) - 1):
                    image[place, index] = 0
        tokens = tokens + block.mlp.fc2(hidden)
    return tokens[:, 1:-1], tokens[:, :1]


def test_the_planted_neuron_is_found_and_its_outliers_vanish(vit, found):
    assert found.neurons.tolist()[0] == [BLOCK, NEURON]
    images = torch.rand(4, 3, SIZE, SIZE)
    before, after = norms(vit(images).patches), norms(DenoisedBackbone(vit, found)(images).patches)
    assert before[:, PLACES].min() > 5 * before.median() and after.max() < 3 * after.median()
    numbers = found.info.metrics
    assert numbers["block where outliers appear"] == BLOCK and numbers["neurons"] == len(found.neurons)
    assert (
        numbers["outlier share, raw"] == pytest.approx(3 / 36, abs=0.02) and numbers["outlier share, calibrated"] == 0
    )
    assert numbers["largest norm over median, calibrated"] < 3 < 5 < numbers["largest norm over median, raw"]
    assert numbers["position share, calibrated"] < numbers["position share, raw"] / 2
    assert numbers["cosine of other tokens to raw"] > 0.9


def test_a_twin_written_out_gives_the_same_tokens(vit):
    neurons = [(BLOCK, NEURON), (BLOCK, 5), (4, 300)]
    images = torch.rand(2, 3, SIZE, SIZE)
    features = vit.forward_layers(images, reader=RegisterReader(vit.reader, neurons))[-1]
    with torch.no_grad():
        patches, prefix = twin(vit.vit, (images - vit.mean) / vit.std, neurons)
    torch.testing.assert_close(features.patches.flatten(1, 2), patches, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(features.prefix, prefix, atol=1e-4, rtol=1e-5)


def test_the_other_tokens_stay_close_and_the_extra_one_has_the_activation(vit, clean_vit, found):
    """Up to the block of the neuron they differ by the attention to one more token."""
    images = torch.rand(4, 3, SIZE, SIZE)
    reader = RegisterReader(vit.reader, [(BLOCK, NEURON)])
    others = [place for place in range(36) if place not in PLACES]
    with torch.no_grad():
        before = vit.forward_layers(images, [BLOCK])[0].patches.flatten(1, 2)[:, others]
        after = vit.forward_layers(images, [BLOCK], reader=reader)[0].patches.flatten(1, 2)[:, others]
    cosine = torch.cosine_similarity(before, after, dim=-1)
    assert cosine.mean() > 0.97 and cosine.min() > 0.9
    kept, mlp = [], vit.vit.blocks[BLOCK].mlp
    handles = [
        mlp.fc1.register_forward_hook(lambda module, given, output: kept.append(functional.gelu(output))),
        mlp.fc2.register_forward_pre_hook(lambda module, given: kept.append(given[0])),
    ]
    vit.forward_layers(images, reader=reader)
    for handle in handles:
        handle.remove()
    own, moved = kept
    assert own.shape[1] == moved.shape[1] == 38 and own[:, 1:-1, NEURON].amax(dim=1).min() > 3
    assert (moved[:, 1:-1, NEURON] == 0).all()
    torch.testing.assert_close(moved[:, -1, NEURON], own[:, 1:-1, NEURON].amax(dim=1))
    assert torch.equal(moved[:, 0], own[:, 0]) and torch.equal(moved[..., NEURON + 1 :], own[..., NEURON + 1 :])


def test_outliers_that_move_with_the_image_are_moved_too(clean_vit):
    """The neuron reads a colour and not a position."""
    backbone = dvt.load_backbone("vit_micro", image_size=SIZE, norm=False, device="cpu")
    images = 0.5 + 0.02 * torch.randn(6, 3, SIZE, SIZE)
    places = torch.randint(0, 6, (6, 2))
    for image, (row, column) in zip(images, places.tolist(), strict=True):
        image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = torch.tensor([1.0, 0, 1]).view(3, 1, 1)
    there = torch.zeros(6, 36, dtype=torch.bool)
    there[range(6), places[:, 0] * 6 + places[:, 1]] = True
    plant(backbone, 0, images, there)
    before = norms(backbone(images).patches)
    after = norms(backbone.forward_layers(images, reader=RegisterReader(backbone.reader, [(0, NEURON)]))[-1].patches)
    assert (before.argmax(dim=1) == there.int().argmax(dim=1)).all() and before.max() > 5 * before.median()
    assert after.max() < 3 * after.median()


def test_the_folder_gives_it_back_at_several_sizes(vit, found, tmp_path):
    found.save_pretrained(tmp_path)
    assert "extra token" in (tmp_path / "README.md").read_text()
    loaded = DenoisedBackbone(vit, dvt.load_denoiser(tmp_path))
    assert loaded.denoiser.config.kind is Kind.registers and torch.equal(loaded.denoiser.neurons, found.neurons)
    model = DenoisedBackbone(vit, found)
    assert model.weights_hash == loaded.weights_hash != vit.weights_hash
    for height, width in ((96, 96), (64, 128), (160, 96)):
        images = torch.rand(1, 3, height, width)
        features = loaded(images)
        assert features.patches.shape == (1, height // 16, width // 16, 192)
        assert torch.equal(features.patches, model(images).patches)
        assert features.patches.isfinite().all() and features.prefix.shape == (1, 1, 192)
        assert not torch.equal(features.patches, vit(images).patches)


def test_load_denoised_takes_the_folder_with_the_weights_of_its_vit(clean_vit, tmp_path):
    denoiser = registers_of(clean_vit, [(3, 17)])
    denoiser.save_pretrained(tmp_path)
    model, _ = dvt.load_denoised(weights=tmp_path, device="cpu")
    images = torch.rand(1, 3, SIZE, SIZE)
    assert torch.equal(model(images).patches, DenoisedBackbone(clean_vit, denoiser)(images).patches)
    assert not torch.equal(model(images).patches, clean_vit(images).patches)


def registers_of(backbone, neurons):
    config = DenoiserConfig(kind=Kind.registers)
    denoiser = Denoiser(config, backbone.num_channels, backbone.grid.hw, len(neurons)).eval()
    denoiser.neurons.copy_(torch.tensor(neurons))
    denoiser.info = ModelInfo(kind="denoiser", spec=backbone.spec, architecture=config.to_plain(), base_license=None)
    return denoiser


def test_threads_do_not_see_each_others_registers(vit):
    reader = RegisterReader(vit.reader, [(BLOCK, NEURON)])
    batches = [torch.rand(1, 3, 64, 64) for _ in range(12)]

    def run(way):
        return [vit.forward_layers(batch, reader=way)[-1].patches for batch in batches]

    wanted = [run(None), run(reader)]
    assert not torch.equal(wanted[0][0], wanted[1][0])
    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(pool.map(run, [None, reader, None, reader])):
            assert all(map(torch.equal, result, wanted[number % 2]))


@pytest.mark.export
def test_a_graph_has_the_registers_and_the_vit_is_left_alone(vit, found):
    model = DenoisedBackbone(vit, found)
    images = torch.rand(3, 3, SIZE, SIZE)
    wanted, raw = model(images), vit(images).patches
    fixed = fixed_size(model)
    with torch.no_grad():
        patches, prefix = trace(fixed).module()(images)
    torch.testing.assert_close(patches, wanted.patches, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prefix, wanted.prefix, atol=1e-4, rtol=1e-4)
    assert torch.equal(vit(images).patches, raw)
    with pytest.raises(ConfigError, match="raw=true and the registers of"):
        fixed_size(model, raw=True)


def test_outliers_that_no_neuron_writes_stay(pieces):
    """Those of the position embedding."""
    with pytest.raises(ConfigError, match=r"not written by a few neurons: moving .* of the tokens above the threshold"):
        calibrate(marked(200), pieces, quick())


def test_a_vit_without_outliers_is_told_so(clean_vit, pieces):
    with pytest.raises(
        ConfigError, match=r"no outlier tokens in 14 images \(largest norm .* x median.*nothing to remove"
    ):
        calibrate(clean_vit, pieces, quick())


def test_ways_has_registers_where_there_are_outliers(vit, pieces, caplog):
    options = CalibrationConfig(num_images=16, windows=2, batch_size=16)
    ways = {way.name: way for way in measure_ways(vit, pieces, options, registers=True)}
    assert list(ways) == ["raw", "centred", "projected", "registers", "blocks"]
    assert ways["registers"].position_share < ways["raw"].position_share
    first = dvt.load_backbone("vit_micro", image_size=SIZE, layer=0, device="cpu")
    ways = measure_ways(first, pieces, options, registers=True)
    assert [way.name for way in ways] == [
        "raw",
        "centred",
        "projected",
    ] and "method=registers was not measured" in caplog.text


def test_what_has_no_registers(vit, clean_vit, pieces):
    swiglu = dvt.load_backbone(
        "eva02_tiny_patch14_224.mim_in22k", weights="random", image_size=56, norm=False, device="cpu"
    )
    with pytest.raises(BackboneError, match=r"method=registers does not work with eva02_tiny.*plain MLP"):
        calibrate(swiglu, pieces, quick())
    dropping = dvt.load_backbone("vit_micro", image_size=SIZE, device="cpu")
    dropping.reader.drop_patches(Pruning.of_depth(192, 6, keep=0.5))
    with pytest.raises(BackboneError, match=r"drops patches on its way \(student.keep\)"):
        calibrate(dropping, pieces, quick())
    with pytest.raises(BackboneError, match="neuron 768 of block 2 does not exist"):
        DenoisedBackbone(vit, registers_of(vit, [(2, 768)]))
    with pytest.raises(ConfigError, match="rank=99999: the MLPs up to block 2 have 2304 neurons"):
        calibrate(vit, pieces, quick(rank=99999))
    assert len(calibrate(vit, pieces, quick(rank=5)).denoiser.neurons) == 5
    with pytest.raises(ConfigError, match="changes the forward pass of the ViT"):
        DenoiserConfig(kind=Kind.registers, fine=2)
    denoiser = registers_of(clean_vit, [(1, 2)])
    with pytest.raises(WeightsError, match="missing"):
        Denoiser.from_state({"pairs": torch.zeros(1, 2)}, denoiser.info, source="file")
