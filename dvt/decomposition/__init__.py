"""Stage 1: from the raw features of many views of an image to its clean features and its artifact."""
