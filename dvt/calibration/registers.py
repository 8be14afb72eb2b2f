"""Registers: the neurons that write outlier tokens, and how many of them to move (Jiang et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import require_finite
from dvt.backbone.reader import TokenReader
from dvt.backbone.sources.timm_registers import ActivationReader, RegisterReader, plain_mlps
from dvt.calibration.windows import Windows
from dvt.diagnosis.findings import OUTLIER_ENERGY
from dvt.diagnosis.outliers import OutlierNorms
from dvt.errors import ConfigError
from dvt.images import ImageFile
from dvt.shapes import ImageBatch

LEAST_ENERGY = OUTLIER_ENERGY[1]
"""Outliers are worth moving where they carry this share of all squared norms. Largest of AugReg ViT-Ti: 0.97; of
DeiT-Ti, which has none to speak of: 0.09."""
LEFT = 0.1
"""Neurons are those of the outliers where at most this share of the outliers is left without them."""
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of neurons that are tried."""

Neuron = tuple[int, int]
"""Block, and index in its MLP, counted from 0."""


class NoRegistersError(ConfigError):
    """A ViT without outlier tokens, or whose outliers no few neurons write."""


@dataclass(frozen=True, slots=True)
class Registers:
    """Neurons to be moved."""

    neurons: tuple[Neuron, ...]
    """Those that write most come first."""
    numbers: dict[str, float]
    """What was found on images that were not used, by name."""


def find_registers(
    backbone: Backbone,
    windows: Windows,
    used: Sequence[ImageFile],
    held_out: Sequence[ImageFile],
    count: int | None,
) -> Registers:
    """Find the neurons that write the outlier tokens of a ViT.

    Outliers appear at the first block where they carry `LEAST_ENERGY` of all squared norms. Neurons of the blocks up
    to that one are ranked by how much longer the vector is that they write at outliers: the difference of their mean
    activations at outliers and elsewhere, times the norm of their column of `fc2`. The paper ranks the activations
    alone, whose unit differs from neuron to neuron.

    Args:
        backbone: the ViT; outliers are looked for up to the block that it reads.
        windows: reads the images.
        used: images that rank the neurons.
        held_out: other images, which choose their number.
        count: number of neurons; None: as few as leave no more than `LEFT` of the outliers, and one more as long as
            that leaves the other tokens closer to what they were.

    Raises:
        NoRegistersError: there are no outliers, or no few neurons write them.
        BackboneError: not a plain ViT of timm with plain MLPs.
    """
    mlps = plain_mlps(backbone.reader)[: backbone.layer + 1]
    norms = [OutlierNorms() for _ in mlps]
    for batches in windows.of_each(used):
        for batch in batches:
            for meter, maps in zip(norms, _maps(backbone, batch, range(len(mlps))), strict=True):
                meter.update(maps)
    found = [meter.result for meter in norms]
    appears = next((block for block, each in enumerate(found) if each.energy >= LEAST_ENERGY), None)
    if appears is None:
        highest = max(float(meter.norms.max()) / each.median for meter, each in zip(norms, found, strict=True))
        raise NoRegistersError(
            f"no outlier tokens in {len(used)} images (largest norm {highest:.1f} x median; at most"
            f" {max(each.energy for each in found):.1%} of all squared norms are in outliers): nothing to remove."
            f" {backbone.full_name} needs no registers."
        )
    ranking = _ranking(backbone, windows, used, found[appears].threshold, appears)
    if count is not None and count > len(ranking):
        raise ConfigError(
            f"rank={count}: the MLPs up to block {appears} have {len(ranking)} neurons. Give at most that."
        )
    chosen, numbers = _choose(backbone, windows, held_out, ranking, count)
    return Registers(tuple(ranking[:chosen]), {"block where outliers appear": float(appears)} | numbers)


def _maps(
    backbone: Backbone, images: ImageBatch, blocks: Sequence[int], reader: TokenReader | None = None
) -> list[Tensor]:
    """(B, H, W, C) of some blocks, before the final norm."""
    features = backbone.forward_layers(images.to(backbone.device), blocks, reader=reader)[:-1]
    maps = [each.patches.float() for each in features]
    require_finite(backbone.full_name, maps[-1])
    return maps


def _ranking(
    backbone: Backbone, windows: Windows, used: Sequence[ImageFile], threshold: float, appears: int
) -> list[Neuron]:
    """The neurons of the blocks up to `appears`, those that write most at outliers first."""
    reader, prefix = ActivationReader(backbone.reader), backbone.num_prefix_tokens
    sums: dict[int, Tensor] = {}
    counts = torch.zeros(2, dtype=torch.float64)
    for batches in windows.of_each(used):
        for batch in batches:
            (maps,) = _maps(backbone, batch, [appears], reader)
            high = (torch.linalg.vector_norm(maps, dim=-1) > threshold).flatten(1)
            where = torch.stack([high, ~high]).float()
            counts += where.sum(dim=(1, 2)).cpu()
            for block in range(appears + 1):
                activations = reader.activations[block][:, prefix:].float()
                added = torch.einsum("sbn,bnd->sd", where, activations).double().cpu()
                sums[block] = sums.get(block, torch.zeros_like(added)) + added
    scores: list[tuple[float, Neuron]] = []
    for block, total in sums.items():
        at_outliers, elsewhere = total / counts[:, None].clamp_min(1)
        written = (at_outliers - elsewhere) * _written_norms(backbone.reader.blocks[block])
        scores += [(float(score), (block, index)) for index, score in enumerate(written)]
    return [neuron for _, neuron in sorted(scores, key=lambda each: (-each[0], each[1]))]


def _written_norms(block: nn.Module) -> Tensor:
    """(D,) norm of what each neuron of a block adds to a token, for an activation of 1."""
    vit_block: Any = block
    columns: Tensor = vit_block.mlp.fc2.weight.detach().double()
    scale = getattr(getattr(vit_block, "ls2", None), "gamma", None)
    if isinstance(scale, Tensor):  # LayerScale
        columns = columns * scale.detach().double()[:, None]
    norms: Tensor = torch.linalg.vector_norm(columns, dim=0).cpu()
    return norms


@dataclass(frozen=True, slots=True)
class _Tried:
    """What some neurons do on images that were not used."""

    count: int
    share: float
    """Tokens above the threshold of the plain ViT, as a share of all."""
    cosine: float
    """Mean cosine of the tokens that were no outliers to what they were."""
    highest: float
    """Largest norm over the median."""


def _choose(
    backbone: Backbone, windows: Windows, held_out: Sequence[ImageFile], ranking: Sequence[Neuron], count: int | None
) -> tuple[int, dict[str, float]]:
    """The number of neurons, and what they do at the block that the backbone reads."""
    batches = [batch for each in windows.of_each(held_out) for batch in each]
    plain = [_maps(backbone, batch, [backbone.layer])[0] for batch in batches]
    norms = OutlierNorms()
    for maps in plain:
        norms.update(maps)
    raw = norms.result
    best: _Tried | None = None
    for number in (count,) if count is not None else COUNTS:
        if number > len(ranking):
            break
        tried = _try(backbone, batches, plain, raw.threshold, ranking[:number])
        if best is not None and best.share <= LEFT * raw.share and tried.cosine <= best.cosine:
            break
        if best is None or tried.share <= max(best.share, LEFT * raw.share):
            best = tried
    assert best is not None, "there are neurons"
    if count is None and best.share > LEFT * raw.share:
        raise NoRegistersError(
            f"the outliers of {backbone.full_name} are not written by a few neurons: moving {best.count} of them leaves"
            f" {best.share:.2%} of the tokens above the threshold, of {raw.share:.2%}. Nothing is moved: give another"
            " method, or a number of neurons as rank=."
        )
    return best.count, {
        "neurons": float(best.count),
        "outlier share, raw": raw.share,
        "outlier share, calibrated": best.share,
        "largest norm over median, raw": float(norms.norms.max()) / raw.median,
        "largest norm over median, calibrated": best.highest,
        "cosine of other tokens to raw": best.cosine,
    }


def _try(
    backbone: Backbone,
    batches: Sequence[ImageBatch],
    plain: Sequence[Tensor],
    threshold: float,
    neurons: Sequence[Neuron],
) -> _Tried:
    reader, norms = RegisterReader(backbone.reader, neurons), OutlierNorms()
    cosines: list[Tensor] = []
    for batch, before in zip(batches, plain, strict=True):
        (maps,) = _maps(backbone, batch, [backbone.layer], reader)
        norms.update(maps)
        others = torch.linalg.vector_norm(before, dim=-1) <= threshold
        cosines.append(functional.cosine_similarity(maps, before, dim=-1)[others].cpu())
    return _Tried(
        count=len(neurons),
        share=float((norms.norms > threshold).double().mean()),
        cosine=float(torch.cat(cosines).mean()),
        highest=float(norms.norms.max() / norms.norms.median()),
    )
