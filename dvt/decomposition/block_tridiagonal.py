"""Cholesky factorisation of a symmetric block tridiagonal matrix: the system of nodes in rows.

A node of a bilinear grid is coupled with its neighbours alone. Ordered by rows, the matrix has one dense block per row
of nodes and one between neighbouring rows. For R rows of b nodes the factor takes 7/3 R b^3 operations and 16 R b^2
bytes, a dense one (R b)^3 / 3 and 8 (R b)^2. All work is in products of dense blocks, so it is fast on every device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.shapes import Float


@dataclass(frozen=True, slots=True, eq=False)
class BlockTridiagonal:
    """A symmetric matrix, (R b, R b)."""

    diagonal: Float[Tensor, "R b b"]
    """The blocks on the diagonal, each in full."""
    below: Float[Tensor, "R1 b b"]
    """The R - 1 blocks below the diagonal: rows of block r + 1, columns of block r."""

    def factor_(self) -> bool:
        """Replace the blocks by those of the Cholesky factor L, the ones on the diagonal by their inverses.

        Returns:
            False if the matrix is not positive definite.
        """
        failed = torch.zeros((), dtype=torch.int32, device=self.diagonal.device)
        one = torch.eye(self.diagonal.shape[1], dtype=self.diagonal.dtype, device=self.diagonal.device)
        for row, block in enumerate(self.diagonal):
            if row:
                link = self.below[row - 1]
                link.copy_(link @ self.diagonal[row - 1].mT)
                block.addmm_(link, link.mT, alpha=-1)
            factor, info = torch.linalg.cholesky_ex(block)
            block.copy_(torch.linalg.solve_triangular(factor, one, upper=False))
            failed |= info
        return not failed.item()

    def solve_factored_(self, columns: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """Solve L L^T x = columns after `factor_`, in place."""
        parts = columns.view(*self.diagonal.shape[:2], -1)
        for row, part in enumerate(parts):
            if row:
                part.addmm_(self.below[row - 1], parts[row - 1], alpha=-1)
            part.copy_(self.diagonal[row] @ part)
        for row in reversed(range(len(parts))):
            part = parts[row]
            if row + 1 < len(parts):
                part.addmm_(self.below[row].mT, parts[row + 1], alpha=-1)
            part.copy_(self.diagonal[row].mT @ part)
        return columns
