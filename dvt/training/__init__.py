"""What stages 2 and 3 share: optimisation under Lightning that can be stopped, resumed and followed.

`run.fit` trains a `module.StageModule`; nothing is imported here, so that options (`config`) can be listed without
waiting for torch.
"""
