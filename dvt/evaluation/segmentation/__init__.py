"""Semantic segmentation on frozen features: a linear probe, and nearest neighbours. Nothing is imported here."""
