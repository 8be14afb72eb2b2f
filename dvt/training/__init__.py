"""Shared by stages 2 and 3: training under Lightning that can be stopped, resumed and followed.

`run.fit` trains a `module.StageModule`. Nothing is imported here: `config` must be readable without torch.
"""
