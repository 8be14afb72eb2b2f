"""Training-free denoisers: a linear map and a vector per position, from a few images (`dvt calibrate`).

    config   options
    sums     mean and covariance of features, by position, from one pass over windows of the images
    maps     the methods: centred, blank, artifact, projected, blocks
    run      images in, a folder with a denoiser out

What comes out is a `Denoiser` of kind `affine`: everything that takes a denoiser takes it. Nothing is imported here.
"""
