"""A frozen, pretrained ViT: images -> features.

`load.load_backbone` makes a `backbone.Backbone` from a catalogue name or the name of any plain ViT of timm;
`backbone(images)` gives `features.Features`. This module imports nothing, so that names and options (`catalogue`,
`config`) are listed without torch and timm.
"""
