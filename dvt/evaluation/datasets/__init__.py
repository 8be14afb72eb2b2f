"""Data sets: images with labels, found on disk, paired and read on demand. Nothing is imported here."""
