"""The doctor: does a ViT have artifacts, of which kind, where, and what to do.

`examine` measures the artifact scores of `dvt.scores` at every block, `diagnose` says in words what they mean,
`draw_examination` draws them. Nothing is imported here.
"""
