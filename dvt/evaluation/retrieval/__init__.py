"""Retrieval and k-NN classification of whole pictures. Nothing is imported here."""
