"""Training-free denoisers: a linear map and a vector per position, or registers, from a few images (`dvt calibrate`).

    config     options
    windows    images as windows
    sums       mean and covariance of features, by position, from one pass over windows of the images
    maps       the methods: centred, blank, artifact, projected, blocks
    registers  the method registers: neurons that write outlier tokens
    run        images in, a folder with a denoiser out
    ways       what they would do for a ViT

What comes out is a `Denoiser` of kind `affine` or `registers`: everything that takes a denoiser
takes it. Nothing is imported here.
"""
