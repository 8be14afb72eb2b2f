"""Stage 1 of the released code as plain arithmetic (paper eq. 5-10, App. A.1), on tensors without modules.

Every function takes the weights it needs, so that the tests can give it those of ours.
"""

import math

import torch


def hash_grid(xy, table, levels, log2_hashmap_size):
    """tiny-cuda-nn's HashGrid with a loop over points, levels and corners.

    `levels` is [(scale, vertices per side), ...]: whether a finest level of 2^10 gets 1024 or 1025 vertices hangs on
    the rounding of float32, so the numbers of the levels have a test of their own.
    """
    rows = []
    for point in xy:
        features, offset = [], 0
        for scale, resolution in levels:
            size = min((resolution * resolution + 7) // 8 * 8, 2**log2_hashmap_size)
            position = [float(coordinate) * scale + 0.5 for coordinate in point]
            corner = [math.floor(value) for value in position]
            total = torch.zeros(table.shape[1], dtype=table.dtype)
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = 1.0
                    for axis, step in ((0, dx), (1, dy)):
                        fraction = position[axis] - corner[axis]
                        weight *= fraction if step else 1 - fraction
                    x, y = corner[0] + dx, corner[1] + dy
                    index = x + y * resolution if resolution * resolution <= size else x ^ (y * 2654435761 % 2**32)
                    total = total + weight * table[offset + index % size]
            features.append(total)
            offset += size
        rows.append(torch.cat(features))
    return torch.stack(rows)


def mlp(x, weights):
    """Linear layers with ReLU between them; `weights` is [(W, b), ...]."""
    for index, (weight, bias) in enumerate(weights):
        x = x @ weight.T + bias
        if index + 1 < len(weights):
            x = torch.clamp(x, min=0)
    return x


def distance(prediction, target):
    """Mean squared error plus one minus the mean cosine."""
    squared = ((prediction - target) ** 2).mean()
    norms = prediction.norm(dim=-1) * target.norm(dim=-1)
    return squared + 1 - ((prediction * target).sum(dim=-1) / norms).mean()


def loss_joint(f, g, raw):
    """First half of the steps."""
    return distance(f + g, raw)


def loss_residual(f, g, h, raw, alpha=0.1, beta=0.02):
    """Second half: F learns from the distance, h from what F + G leave and from its sparsity, G rests."""
    g = g.detach()
    target = (raw - f - g).detach()
    return distance(f + g + h.detach(), raw) + alpha * ((h - target) ** 2).mean() + beta * h.abs().mean()


def adam_step(parameter, gradient, state, step, lr, weight_decay, betas=(0.9, 0.99), eps=1e-15):
    """One update of Adam with the L2 term inside; `step` counts from 1. Returns the new parameter."""
    gradient = gradient + weight_decay * parameter
    state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * gradient
    state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * gradient**2
    m = state["m"] / (1 - betas[0] ** step)
    v = state["v"] / (1 - betas[1] ** step)
    return parameter - lr * m / (v.sqrt() + eps)


def learning_rate(step, num_iters=25_000, lr=0.01, final=0.001):
    """Head of the repository: 10 % linear warm-up from zero, then half a cosine down to a tenth."""
    warmup = num_iters // 10
    if step < warmup:
        return lr * step / warmup
    return final + (lr - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_iters - warmup)))
