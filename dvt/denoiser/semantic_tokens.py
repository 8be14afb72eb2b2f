"""Semantic tokens: L tokens pooled from the patches, a transformer on them, and a projection back (Wu et al. 2020).

The modules follow the equations of *Visual Transformers: Token-based Image Representation and Processing for Computer
Vision*, with X (N, C) the patches and T (L, C) the tokens:

    filter tokenizer       T = softmax_N(X W_A)^T X                                  W_A (C, L)
    recurrent tokenizer    W_R = T_in W_TR,  T = softmax_N(X W_R^T)^T X              W_TR (C, C)
    transformer            T' = T + softmax_L((T K)(T Q)^T) T,  T_out = T' + relu(T' F_1) F_2
    projector              X_out = X + softmax_L((X W_Q)(T W_K)^T) T

What is not as printed:

* The recurrent tokenizer: the paper prints X W_R, which has no defined product; W_R is transposed here.
* Every product of two vectors of C channels is divided by sqrt(C), as in Vaswani et al. 2017. Without it the softmax
  picks one patch or one token at initialisation, and has almost no gradient. X W_A needs no division: its weights start
  at 1 / sqrt(3 C).
* X is normed by a layer norm in front of the tokenizer, and in the query of the projector. Features of ViTs have a few
  channels of large values, which would alone decide where each token looks.
* The projector multiplies what it adds by a scale per channel that starts at 0 (ReZero, Bachlechner et al. 2020), so a
  module starts as the identity: a denoiser starts at the raw features, a head at the linear probe.

Several levels of features (VT-FPN) have a tokenizer and a projector each. One transformer has the tokens of all levels,
and all of them are projected back to each level.
Work and memory grow linearly with N: no two patches meet.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from dvt.shapes import PatchTokens, SemanticTokens


class FilterTokenizer(nn.Module):
    """T = softmax over the patches of (X W_A), transposed, times X.

    Examples:
        >>> import torch
        >>> FilterTokenizer(num_channels=8, num_tokens=3)(torch.rand(2, 20, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, num_channels: int, num_tokens: int):
        """Initialise a tokenizer.

        Args:
            num_channels: C.
            num_tokens: L.
        """
        super().__init__()
        self.filters = nn.Linear(num_channels, num_tokens, bias=False)

    def forward(self, patches: PatchTokens) -> SemanticTokens:
        """(B, N, C) to (B, L, C): every token is a weighted mean of the patches."""
        weights = self.filters(patches).softmax(dim=1)
        pooled: Tensor = weights.transpose(1, 2) @ patches
        return pooled


class RecurrentTokenizer(nn.Module):
    """W_R = T_in W_TR, T = softmax over the patches of (X W_R^T) / sqrt(C), transposed, times X.

    The tokens of the module before say what to look for, so the filters depend on the image.

    Examples:
        >>> import torch
        >>> RecurrentTokenizer(num_channels=8)(torch.rand(2, 20, 8), torch.rand(2, 3, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, num_channels: int):
        """Initialise a tokenizer for C channels and any number of tokens."""
        super().__init__()
        self.to_filters = nn.Linear(num_channels, num_channels, bias=False)

    def forward(self, patches: PatchTokens, tokens: SemanticTokens) -> SemanticTokens:
        """(B, N, C) patches and (B, L, C) tokens of the module before, to (B, L, C)."""
        filters = self.to_filters(tokens) / sqrt(patches.shape[-1])
        weights = (patches @ filters.transpose(1, 2)).softmax(dim=1)
        pooled: Tensor = weights.transpose(1, 2) @ patches
        return pooled


class TokenTransformer(nn.Module):
    """T' = T + softmax((T K)(T Q)^T / sqrt(C)) T, then T' + relu(T' F_1) F_2: no values, no biases, no expansion."""

    def __init__(self, num_channels: int):
        """Initialise a transformer of one head for C channels."""
        super().__init__()
        self.keys, self.queries, self.first, self.second = (
            nn.Linear(num_channels, num_channels, bias=False) for _ in range(4)
        )

    def forward(self, tokens: SemanticTokens) -> SemanticTokens:
        """(B, L, C) to the same."""
        products = self.keys(tokens) @ self.queries(tokens).transpose(1, 2) / sqrt(tokens.shape[-1])
        mixed = tokens + products.softmax(dim=-1) @ tokens
        out: Tensor = mixed + self.second(self.first(mixed).relu())
        return out


class Projector(nn.Module):
    """scale * softmax over the tokens of ((X W_Q)(T W_K)^T / sqrt(C)) T, which is added to X.

    (X W_Q)(T W_K)^T is computed as X (W_Q W_K^T T^T): the same product, with N L C multiplications for the patches
    instead of N C^2.
    """

    def __init__(self, num_channels: int):
        """Initialise a projector for C channels and any number of tokens; its scale is 0."""
        super().__init__()
        self.keys, self.queries = (nn.Linear(num_channels, num_channels, bias=False) for _ in range(2))
        self.scale = nn.Parameter(torch.zeros(num_channels))

    def forward(self, patches: PatchTokens, tokens: SemanticTokens) -> PatchTokens:
        """(B, N, C) patches and (B, L, C) tokens to what is added to every patch, (B, N, C)."""
        looked_for = self.keys(tokens) @ self.queries.weight / sqrt(patches.shape[-1])
        weights = (patches @ looked_for.transpose(1, 2)).softmax(dim=-1)
        added: Tensor = weights @ (self.scale * tokens)
        return added


class VisualTransformer(nn.Module):
    """One module: tokens of every level, one transformer on all of them, and all of them projected back to every level.

    It starts as the identity. Without a position embedding it is equivariant: patches in another order give the same
    features in that order.
    """

    def __init__(self, num_channels: int, num_tokens: int, *, num_levels: int = 1, recurrent: bool = False):
        """Initialise a module.

        Args:
            num_channels: C of each level.
            num_tokens: L of each level.
            num_levels: maps of features that share the transformer.
            recurrent: take the filters from the tokens of the module before.
        """
        super().__init__()
        levels = range(num_levels)
        self.norms = nn.ModuleList(nn.LayerNorm(num_channels, eps=1e-6) for _ in levels)
        self.tokenizers = nn.ModuleList(
            RecurrentTokenizer(num_channels) if recurrent else FilterTokenizer(num_channels, num_tokens) for _ in levels
        )
        self.transformer = TokenTransformer(num_channels)
        self.projectors = nn.ModuleList(Projector(num_channels) for _ in levels)

    def forward(
        self, levels: list[PatchTokens], before: SemanticTokens | None
    ) -> tuple[list[PatchTokens], SemanticTokens]:
        """The features with their context, and the tokens.

        Args:
            levels: (B, N, C) patches of every level.
            before: (B, levels L, C) tokens of the module before; None for the first one.
        """
        normed = [norm(level) for norm, level in zip(self.norms, levels, strict=True)]
        if before is None:
            found = [tokenize(level) for tokenize, level in zip(self.tokenizers, normed, strict=True)]
        else:
            parts = before.chunk(len(normed), dim=1)
            found = [tokenize(*each) for tokenize, *each in zip(self.tokenizers, normed, parts, strict=True)]
        tokens = self.transformer(torch.cat(found, dim=1))
        added = [project(level, tokens) for project, level in zip(self.projectors, normed, strict=True)]
        return [level + each for level, each in zip(levels, added, strict=True)], tokens


class VisualTransformers(nn.Module):
    """Several modules after each other: the first has filter tokenizers, the others recurrent ones.

    Examples:
        >>> import torch
        >>> stack = VisualTransformers(num_channels=8, num_tokens=3, num_modules=2)
        >>> patches = torch.rand(2, 20, 8)
        >>> torch.equal(stack(patches), patches)  # before any training
        True
    """

    def __init__(self, num_channels: int, num_tokens: int, num_modules: int = 1, num_levels: int = 1):
        """Initialise the modules.

        Args:
            num_channels: C of each level.
            num_tokens: L of each level.
            num_modules: how many.
            num_levels: maps of features, side by side in the channels.
        """
        super().__init__()
        self.num_levels = num_levels
        self.stages = nn.ModuleList(
            VisualTransformer(num_channels, num_tokens, num_levels=num_levels, recurrent=number > 0)
            for number in range(num_modules)
        )

    def forward(self, patches: PatchTokens) -> PatchTokens:
        """(B, N, levels C) to the same."""
        levels, tokens = list(patches.chunk(self.num_levels, dim=-1)), None
        for stage in self.stages:
            levels, tokens = stage(levels, tokens)
        return torch.cat(levels, dim=-1)
