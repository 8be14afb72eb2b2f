"""Streaming: stage 1 feeds stage 2 in memory, from photographs to a denoiser; nothing is stored."""
