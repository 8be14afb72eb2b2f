"""SRT (Stochastic Resonance Transformer): features averaged over shifts of the picture by less than a patch.

`srt.SrtBackbone` has the interface of a `Backbone`; `shifts` and `aggregate` hold the arithmetic. Nothing is imported
here, so that options (`config`) can be listed without waiting for torch.
"""
