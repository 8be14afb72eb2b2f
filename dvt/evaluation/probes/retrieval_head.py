"""A linear head on pooled descriptors: contrastive loss with a memory of earlier batches, and KoLeo.

El-Nouby et al. 2021, "Training Vision Transformers for Image Retrieval" (IRT); the memory is that of Wang et al. 2020,
"Cross-Batch Memory for Embedding Learning". IRT trains the whole ViT. Here the ViT is frozen and the head alone learns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.retrieval import RetrievalHeadConfig
from dvt.evaluation.probes.image_ranking import nearest_distances
from dvt.shapes import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalHead:
    """Descriptors to descriptors of length 1: z = W x / |W x|."""

    weight: Tensor
    """(D, C) float64: W."""

    def __call__(self, descriptors: Tokens) -> Tensor:
        """(N, C) float64 descriptors of any length to (N, D) of length 1."""
        return functional.normalize(descriptors @ self.weight.T, dim=1)


class CrossBatchMemory:
    """The last descriptors that were pushed, without gradients; the oldest leave first."""

    def __init__(self, size: int, dimensions: int):
        """Empty memory.

        Args:
            size: how many descriptors it holds; 0 holds none.
            dimensions: D of a descriptor.
        """
        self._size = size
        self.descriptors = torch.empty(0, dimensions, dtype=torch.float64)
        """(M, D), the oldest first."""
        self.labels = torch.empty(0, dtype=torch.int64)
        """(M,) their classes."""
        self.images = torch.empty(0, dtype=torch.int64)
        """(M,) the numbers of their images."""

    def push(self, descriptors: Tokens, labels: Tensor, images: Tensor) -> None:
        """Add a batch at the end."""
        first = max(0, len(self.labels) + len(labels) - self._size)
        self.descriptors = torch.cat([self.descriptors, descriptors.detach()])[first:]
        self.labels = torch.cat([self.labels, labels])[first:]
        self.images = torch.cat([self.images, images])[first:]


def contrastive_loss(similarities: Tensor, alike: Tensor, other: Tensor, margin: float) -> Tensor:
    """Images of a class are pulled together, others are pushed apart down to a margin (El-Nouby et al. 2021).

        L = (1/N) sum_i [ mean over j of the class of i of (1 - s_ij)
                          + mean over the other j with s_ij > margin of (s_ij - margin) ]

    Means and not sums over j: so the weight of KoLeo beside it depends neither on the size of the memory nor on the
    number of images per class. An empty mean is 0.

    Args:
        similarities: (N, M) cosine similarities.
        alike: (N, M) whether both images have the same class.
        other: (N, M) false where both are the same image: such pairs are left out.
        margin: in [-1, 1).

    Examples:
        >>> similarities = torch.tensor([[0.9, 0.7, 0.4]])
        >>> alike = torch.tensor([[True, False, False]])
        >>> round(float(contrastive_loss(similarities, alike, torch.ones_like(alike), 0.5)), 4)  # 0.1 + 0.2
        0.3
    """
    pulled = _mean(1 - similarities, alike & other)
    pushed = _mean(similarities - margin, ~alike & other & (similarities > margin))
    return (pulled + pushed).mean()


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """(N,) the mean of some values of every row; 0 where there is none."""
    return (values * where).sum(dim=1) / where.sum(dim=1).clamp(min=1)


def koleo_loss(descriptors: Tokens) -> Tensor:
    """KoLeo of a batch, `dvt.evaluation.probes.image_ranking.koleo` with gradients; 0 where all are copies.

    Args:
        descriptors: (N, D) of length 1, at least two.
    """
    distances = nearest_distances(descriptors)
    apart = distances > 0
    return -distances[apart].log().sum() / apart.sum().clamp(min=1)


def first_weight(descriptors: Tokens, dimensions: int | None) -> Tensor:
    """(D, C) float64 where a head starts: the identity, or the principal axes.

    The axes are those of the descriptors of length 1, not centred: of all projections to so many dimensions, these keep
    the products of descriptors best.

    Args:
        descriptors: (N, C) float64 that train the head.
        dimensions: D, at most the smaller of N and C; None is the identity.

    Raises:
        EvaluationError: too many dimensions.
    """
    count, channels = descriptors.shape
    if dimensions is None:
        return torch.eye(channels, dtype=torch.float64)
    if dimensions > min(count, channels):
        raise EvaluationError(
            f"head.dimensions={dimensions}, but {count} images with {channels} channels have {min(count, channels)}"
            f" principal axes. Give at most {min(count, channels)}."
        )
    axes: Tensor = torch.linalg.svd(functional.normalize(descriptors, dim=1), full_matrices=False)[2]
    return axes[:dimensions].clone()


def train_head(descriptors: Tokens, labels: Tensor, config: RetrievalHeadConfig, seed: int) -> RetrievalHead:
    """Train a head: AdamW, learning rate linear to 0.

    Args:
        descriptors: (N, C) float64 of the training images, of any length.
        labels: (N,) int64 classes.
        config: loss and steps; `config.batch_size` is at most N.
        seed: of the order of the images.

    Raises:
        EvaluationError: too many dimensions, or the training diverged.

    Examples:
        >>> from dvt.evaluation.config.retrieval import HeadKind
        >>> config = RetrievalHeadConfig(kind=HeadKind.linear, num_steps=2, batch_size=4)
        >>> head = train_head(torch.randn(6, 3).double(), torch.tensor([0, 0, 0, 1, 1, 1]), config, seed=0)
        >>> head(torch.randn(2, 3).double()).shape
        torch.Size([2, 3])
    """
    assert config.batch_size <= len(descriptors), "checked by the task"
    generator = torch.Generator().manual_seed(seed)
    weight = first_weight(descriptors, config.dimensions).requires_grad_()
    head, memory = RetrievalHead(weight), CrossBatchMemory(config.memory, len(weight))
    optimizer = torch.optim.AdamW([weight], lr=config.learning_rate, weight_decay=config.weight_decay)
    for step in range(config.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.num_steps)
        batch = torch.randperm(len(descriptors), generator=generator)[: config.batch_size]
        found = head(descriptors[batch])
        others = torch.cat([found, memory.descriptors])
        images = torch.cat([batch, memory.images])
        loss = contrastive_loss(
            found @ others.T, labels[batch, None] == labels[images], batch[:, None] != images, config.margin
        )
        if config.koleo_weight:
            loss = loss + config.koleo_weight * koleo_loss(found)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        memory.push(found, labels[batch], batch)
    if not bool(weight.isfinite().all()):
        raise EvaluationError(f"the head diverged with head.learning_rate={config.learning_rate}: give a smaller one.")
    return RetrievalHead(weight.detach())
