"""`dvt demo`: stages 1 and 2 on six images, with the ViT that ships with dvt; offline, in minutes."""
