"""A linear denoiser: ridge regression from the blocks of a ViT to F, solved from sums over one pass of the pairs."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import Raw, TrainConfig
from dvt.denoiser.network import Denoiser, map_to_cells
from dvt.denoiser.pairs import batch_maps, input_of
from dvt.errors import ConfigError, TrainingError
from dvt.progress import Reporter
from dvt.runtime import pick_device
from dvt.shapes import DenoiserInput, FinerMaps
from dvt.training.checkpoints import Start
from dvt.training.data import ItemSet
from dvt.training.run import Fitted, Trained, write_record
from dvt.training.validation import Comparison
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo

_ROWS = 4096
"""Patches of a batch: bounds the memory beside the sums."""
_DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "cuda", "mps": "mps"}
_CONSTANT = 1e-12
"""Inputs with less than this share of the largest variance are constant; they get no weight."""


class RidgeSums:
    """Sums over patches from which a ridge regression with any strength is solved; float64.

    Inputs are standardised and targets centred by the solver. Memory: 8 n (n + m) bytes for n inputs and m targets.

    Examples:
        >>> import torch
        >>> inputs = torch.tensor([[0.0], [1.0], [2.0]])
        >>> sums = RidgeSums(1, 1)
        >>> sums.add(inputs, 3 * inputs + 5)
        >>> weight, bias = sums.solve(1e-9)
        >>> round(float(weight), 3), round(float(bias), 3)
        (3.0, 5.0)
    """

    def __init__(self, num_inputs: int, num_targets: int, device: torch.device | str = "cpu"):
        """Start at nothing.

        Args:
            num_inputs: n.
            num_targets: m.
            device: where the sums are kept and solved; it needs float64.
        """
        self.count = 0
        zeros = {"dtype": torch.float64, "device": device}
        self._products = torch.zeros(num_inputs, num_inputs, **zeros)  # type: ignore[call-overload]
        self._mixed = torch.zeros(num_inputs, num_targets, **zeros)  # type: ignore[call-overload]
        self._inputs = torch.zeros(num_inputs, **zeros)  # type: ignore[call-overload]
        self._targets = torch.zeros(num_targets, **zeros)  # type: ignore[call-overload]

    @classmethod
    def of(cls, linear: nn.Linear) -> "RidgeSums":
        """Empty sums for the weights of a layer, on its device; on the CPU for mps, which has no float64."""
        device = linear.weight.device
        return cls(linear.in_features, linear.out_features, "cpu" if device.type == "mps" else device)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Add (N, n) inputs and their (N, m) targets."""
        if not self.count:  # sums of differences from a typical value lose no digits
            self._origins = inputs.to(self._inputs).mean(dim=0), targets.to(self._targets).mean(dim=0)
        x, y = inputs.to(self._inputs) - self._origins[0], targets.to(self._targets) - self._origins[1]
        self._products.addmm_(x.T, x)
        self._mixed.addmm_(x.T, y)
        self._inputs += x.sum(dim=0)
        self._targets += y.sum(dim=0)
        self.count += len(x)

    def solve(self, strength: float) -> tuple[Tensor, Tensor]:
        """The regression that minimises the mean squared error + strength * squared norm of the weights.

        The weights of the norm are those of standardised inputs.

        Args:
            strength: above 0.

        Returns:
            (m, n) weights and (m,) biases for inputs as they were added, as of `torch.nn.Linear`; float64.
        """
        x, y = self._inputs / self.count, self._targets / self.count
        variance = self._products.diagonal() / self.count - x**2
        scale = torch.where(variance > _CONSTANT * variance.max(), variance.clamp_min(0).sqrt(), torch.inf)
        system = self._products / self.count
        system.addr_(x, x, alpha=-1)
        system.div_(scale).div_(scale[:, None])
        system.diagonal().add_(strength)
        wanted = (self._mixed / self.count).addr_(x, y, alpha=-1).div_(scale[:, None])
        factor = torch.linalg.cholesky(system)
        weight = torch.cholesky_solve(wanted, factor).div_(scale[:, None])
        bias = self._origins[1] + y - (self._origins[0] + x) @ weight
        return weight.T.contiguous(), bias


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads pairs in batches, as inputs of a linear denoiser and clean maps."""

    network: Denoiser
    """The denoiser, on the device in use."""
    backbone: Backbone | None
    """The frozen ViT, where pairs hold images; on the same device."""
    images_per_batch: int
    """Images at a time."""
    reporter: Reporter
    """Shows every image."""

    def batches(self, pairs: ItemSet) -> Iterator[tuple[DenoiserInput, FinerMaps]]:
        """(B, H, W, (1 + L) C) raw features and (B, r H, r W, C) clean ones of all pairs in order, float32."""
        device = self.network.linear_mixing.linear.weight.device
        for start in range(0, len(pairs), self.images_per_batch):
            numbers = range(start, min(start + self.images_per_batch, len(pairs)))
            batch = default_collate([pairs[number] for number in numbers])
            raw = input_of(batch, self.backbone, self.network.config.layers, device)
            yield raw, batch["clean"].to(device, torch.float32)
            self.reporter.advance(len(numbers))

    def sums(self, pairs: ItemSet) -> RidgeSums:
        """The sums over all patches of pairs."""
        sums = RidgeSums.of(self.network.linear_mixing.linear)
        for raw, clean in self.batches(pairs):
            targets = map_to_cells(clean, self.network.config.fine)
            sums.add(self.network.linear_mixing.inputs(raw).flatten(0, 2), targets.flatten(0, 2))
        return sums

    def compare(self, pairs: ItemSet, solved: Mapping[float, tuple[Tensor, Tensor]]) -> dict[float, dict[str, float]]:
        """The metrics of pairs for each of several solutions."""
        compared = {strength: Comparison("denoised", "clean") for strength in solved}
        for raw, clean in self.batches(pairs):
            for strength, solution in solved.items():
                self.network.linear_mixing.fill(*solution)
                compared[strength].update(batch_maps(self.network, raw, clean))
        return {
            strength: {name: float(value) for name, value in comparison.means().items()}
            for strength, comparison in compared.items()
        }


@torch.no_grad()
def solve_ridge(
    about: ModelInfo,
    train: ItemSet,
    val: ItemSet,
    out: Path,
    config: TrainConfig,
    *,
    backbone: Backbone | None,
    reporter: Reporter,
) -> Trained:
    """Solve a linear denoiser on pairs, choose its strength on the validation images, and publish it.

    Every image is read once, and nothing of it is kept: a run that was stopped starts again. On one machine it gives
    the same weights each time.

    Args:
        about: what is published; the numbers of the run and its metrics are added.
        train: pairs to learn from, read by number.
        val: pairs for validation.
        out: folder of the run.
        config: all options; those of steps, batches and the optimiser have no effect.
        backbone: the frozen ViT, where pairs hold images; it is moved to the device in use.
        reporter: shows every image.

    Raises:
        TrainingError: fewer patches than inputs.
        ConfigError: options of a training by steps that cannot work here.
    """
    start_s = time.perf_counter()
    device = pick_device(_DEVICES.get(config.trainer.accelerator, config.trainer.accelerator))
    backbone = None if backbone is None else backbone.to(device)
    grid = about.spec.grid
    network = Denoiser(config.denoiser, about.spec.channels, grid.hw).requires_grad_(False).to(device)
    reading = _Reading(network, backbone, max(1, _ROWS // grid.num_patches), reporter)
    _check_enough(len(train), grid.num_patches, network.linear_mixing.linear)
    reporter.start(len(train) + len(val), "images", "ridge")
    sums = reading.sums(train)
    solved = {strength: sums.solve(strength) for strength in sorted(set(config.ridge.strengths))}
    compared = reading.compare(val, solved)
    best = min(compared, key=lambda strength: compared[strength]["mse"])
    reporter.note(_choice_text(best, compared))
    network.linear_mixing.fill(*solved[best])
    numbers = {"num_images": len(train), "num_val_images": len(val), "num_patches": sums.count, "strength": best}
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    save_model(out, state, replace(about, training=about.training | numbers, metrics=compared[best]))
    metrics = {f"val/{name}": value for name, value in compared[best].items()}
    fitted = Fitted(1, False, metrics, time.perf_counter() - start_s, is_main=True)
    write_record(out, "train", config, fitted, Start(None, 0, ()), device=device)
    return Trained(out, 1, interrupted=False, metrics=metrics, notes=())


def check_ridge(config: TrainConfig) -> None:
    """Refuse options of a training by steps that have no meaning for a linear denoiser.

    Raises:
        ConfigError: several processes, a checkpoint to resume, or images that are shown in several ways.
    """
    given = "denoiser.kind=linear (recipe=ridge) is solved"
    where = config.trainer
    if where.num_nodes != 1 or where.strategy != "auto" or where.devices not in (1, "1"):
        raise ConfigError(f"{given} in one process: leave out trainer=ddp, trainer.devices and trainer.num_nodes.")
    if config.resume not in ("auto", "none"):
        raise ConfigError(f"{given} at once and has no checkpoints: leave out resume={config.resume}.")
    if config.pairs.raw is Raw.recomputed:
        raise ConfigError(f"{given} from each image as it is, seen once: give pairs.raw=computed or stored.")


def sums_text(num_inputs: int) -> str:
    """The memory of the sums and of their solution, for the note before the work."""
    return f"ridge from {num_inputs} inputs, {3 * 8 * num_inputs**2 / 1e6:.0f} MB for its sums"


def _check_enough(num_images: int, num_patches: int, linear: nn.Linear) -> None:
    """Refuse a system with more unknowns than equations.

    Raises:
        TrainingError: says how many images are needed.
    """
    if num_images * num_patches <= linear.in_features:
        raise TrainingError(
            f"{num_images} training images of {num_patches} patches are too few for {linear.in_features} inputs: give"
            f" {linear.in_features // num_patches + 1} training images or more, or fewer denoiser.layers."
        )


def _choice_text(best: float, compared: Mapping[float, Mapping[str, float]]) -> str:
    errors = ", ".join(f"{strength:g}: {metrics['mse']:.4g}" for strength, metrics in compared.items())
    text = f"strength {best:g} (squared error on the validation images by strength: {errors})"
    if len(compared) > 1 and best in (min(compared), max(compared)):
        text += "; the best is at the end of ridge.strengths: a longer list may have a better one"
    return text
