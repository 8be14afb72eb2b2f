"""Artifact scores as a task: what belongs to the position on the patch grid, for every method, without labels."""
