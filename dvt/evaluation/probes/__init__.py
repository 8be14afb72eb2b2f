"""Probes: what is trained on frozen features. Nothing is imported here."""
