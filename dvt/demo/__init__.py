"""`dvt demo`: every stage of dvt on six images, with the ViT that ships with dvt; offline, in minutes."""
