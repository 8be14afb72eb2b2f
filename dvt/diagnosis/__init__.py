"""Does a ViT have artifacts, of which kind, where, and what to do (`dvt doctor`).

`examine` measures the artifact scores at every block, `diagnose` says in words what they mean, `draw_examination` draws
them. Nothing is imported here.
"""
