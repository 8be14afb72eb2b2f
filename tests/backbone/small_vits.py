"""The shape of the small ViTs in these tests, in timm's words."""

SMALL = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 4}
