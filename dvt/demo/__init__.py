"""The demo: all that dvt does, on a few photographs, with the ViT that comes with it, offline, in minutes."""
