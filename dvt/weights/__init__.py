"""A name -> weights -> a ready object: what the paper's authors released, what others published, what lies on the disk.

`load.load_denoiser` and `denoised.load_denoised` load, `load.list_denoisers` lists, `convert.convert` writes our folder
or the original's file. Nothing is imported here. torch, timm and what they need suffice for all of it (`hubconf.py`).
"""
