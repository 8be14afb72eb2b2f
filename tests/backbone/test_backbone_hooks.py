"""ViTs that are read by hooks: threads, activations that are computed again, blocks that are not called, exports."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import dvt
from dvt.distillation.config import StudentConfig
from dvt.distillation.student import Student
from dvt.errors import BackboneError
from dvt.export.fixed_size import fixed_size


class Blocks(nn.Module):
    """Three blocks on patches of 8 px, called in one of several ways."""

    def __init__(self, way="each"):
        super().__init__()
        self.way, self.stem, self.last = way, nn.Conv2d(3, 16, 8, stride=8), nn.LayerNorm(16)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0) for _ in range(3)
        )

    def forward(self, images):
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        for number in range(3):
            layer = self.layers[number]
            tokens = layer.forward(tokens) if self.way == "past hooks" else layer(tokens)
        return self.last(tokens)


class Named(nn.Module):
    """A block that returns a dict."""

    def forward(self, tokens):
        return {"tokens": tokens}


def wrapped(network, **options):
    return dvt.wrap_backbone(network, patch=8, image_size=64, blocks="layers", norm="last", device="cpu", **options)


def test_two_threads_do_not_see_each_others_tokens():
    torch.manual_seed(0)
    first, last = (wrapped(copy.deepcopy(Blocks()), layer=layer) for layer in (0, -1))
    first.reader = copy.copy(last.reader)  # the same network, read at another block
    batches = [torch.rand(1, 3, 64, 64) for _ in range(60)]
    wanted = [[backbone(batch).patches for batch in batches] for backbone in (first, last)]

    def run(backbone):
        return [backbone(batch).patches for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, [first, last, first, last]))
    for number, result in enumerate(results):
        assert all(map(torch.equal, result, wanted[number % 2]))


def test_a_call_within_a_call():
    backbone, x, depth = wrapped(Blocks()), torch.rand(1, 3, 64, 64), []
    wanted = backbone(x).patches

    def call(*_):
        depth.append(1)
        if len(depth) == 1:
            backbone(torch.zeros_like(x))

    backbone.vit.layers[1].register_forward_hook(call)
    assert torch.equal(backbone(x).patches, wanted) and len(depth) == 2


@pytest.mark.parametrize("layer", [-1, [0, 1]])
def test_activations_that_are_computed_again_give_the_same_gradients(layer, monkeypatch):
    calls = []

    def counted(function, *args, **kwargs):
        calls.append(function)
        return checkpoint(function, *args, **kwargs)

    monkeypatch.setattr("dvt.backbone.reader.checkpoint", counted)
    torch.manual_seed(0)
    backbone, x, found = wrapped(Blocks(), layer=layer), torch.rand(2, 3, 64, 64), []
    for again in (False, True):
        student = Student(backbone, StudentConfig(gradient_checkpointing=again))
        passes = []
        student.backbone.vit.layers[0].linear1.register_forward_hook(lambda *_, into=passes: into.append(1))
        student(x).patches.square().mean().backward()
        found.append({name: each.grad for name, each in student.named_parameters() if each.grad is not None})
        assert len(passes) == 1 + again and "forward" not in vars(student.backbone.vit.layers[0])
    assert len(calls) == student.backbone.layer + 1
    torch.testing.assert_close(found[0], found[1])
    calls.clear()
    with torch.no_grad():
        student(x)
    assert not calls


def test_a_module_that_goes_round_its_hooks():
    with pytest.raises(BackboneError, match=r"block 2 of module:Blocks was not called.*layers\[2\]\(\.\.\.\)"):
        wrapped(Blocks("past hooks"))


def test_what_no_block_gives():
    network = Blocks()
    network.layers[2] = Named()
    network.last = nn.Identity()
    with pytest.raises(BackboneError, match=r"block 2 of module:Blocks returned dict: expected \(B, P"):
        wrapped(network)


def test_a_module_that_counts_its_blocks_is_exported_at_an_early_one():
    torch.manual_seed(0)
    backbone, x = wrapped(Blocks(), layer=0), torch.rand(2, 3, 64, 64)
    fixed = fixed_size(backbone)
    assert torch.equal(fixed(x)[0], backbone(x).patches)
    program = torch.export.export(fixed, (x,))
    torch.testing.assert_close(program.module()(x)[0], backbone(x).patches)


def test_without_blocks_nothing_is_computed_again():
    backbone = dvt.wrap_backbone(nn.Conv2d(3, 4, 8, stride=8), patch=8, device="cpu")
    with pytest.raises(BackboneError, match="whose blocks are not known"):
        Student(backbone, StudentConfig(gradient_checkpointing=True))
