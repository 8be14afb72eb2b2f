"""Linear probe of patches: softmax regression on standardised features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.segmentation import PatchProbeConfig
from dvt.shapes import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class PatchProbe:
    """Features to class scores: `(x - mean) / std`, then a linear map."""

    mean: Tensor
    """(C,) of the training features."""
    std: Tensor
    """(C,) of the training features."""
    weight: Tensor
    """(K, C)."""
    bias: Tensor
    """(K,)."""

    def __call__(self, features: Tensor) -> Tensor:
        """(..., C) features to (..., K) logits, on the device of the features."""
        mean, std, weight, bias = (each.to(features) for each in (self.mean, self.std, self.weight, self.bias))
        return functional.linear((features - mean) / std, weight, bias)


def train_probe(tokens: Tokens, labels: Tensor, num_classes: int, config: PatchProbeConfig, seed: int) -> PatchProbe:
    """Train a probe: zero weights, patches drawn with replacement, AdamW, learning rate linear to 0.

    Args:
        tokens: (N, C) features of all training patches; their mean and deviation standardise.
        labels: (N,) int64 classes; -1 for none, not trained on.
        num_classes: K.
        config: steps and rates.
        seed: of the draws.

    Raises:
        EvaluationError: fewer than two patches have a label, or the training diverged.
    """
    generator = torch.Generator().manual_seed(seed)
    used = labels >= 0
    if int(used.sum()) < 2:
        raise EvaluationError(
            f"{int(used.sum())} of {len(labels)} training patches have a label; a probe needs at least two. Give more"
            " training images, or a larger image_size."
        )
    mean, std = tokens.mean(dim=0), tokens.std(dim=0) + 1e-6
    inputs, targets = ((tokens - mean) / std)[used], labels[used]
    weight = torch.zeros(num_classes, tokens.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=config.learning_rate, weight_decay=config.weight_decay)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.num_steps)
    for _ in range(config.num_steps):
        pick = torch.randint(len(inputs), (config.batch_size,), generator=generator)
        optimizer.zero_grad()
        loss = functional.cross_entropy(functional.linear(inputs[pick], weight, bias), targets[pick])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    if not bool(weight.isfinite().all()):
        raise EvaluationError(
            f"the probe diverged with patches.learning_rate={config.learning_rate}: give a smaller one."
        )
    return PatchProbe(mean=mean, std=std, weight=weight.detach(), bias=bias.detach())
