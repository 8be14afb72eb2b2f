"""Frozen features to predictions: trained heads, LOST, TokenCut, label propagation, rankings. Nothing is imported."""
