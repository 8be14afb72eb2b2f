"""Semi-supervised video object segmentation: the mask of the first frame is carried on by the features."""
