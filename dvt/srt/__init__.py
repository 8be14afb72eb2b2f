"""SRT (Stochastic Resonance Transformer): features averaged over image shifts of less than a patch.

`backbone.SrtBackbone` has the interface of a `Backbone`; `shifts` holds the arithmetic. This file imports nothing:
listing the options (`config`) must not wait for torch.
"""
