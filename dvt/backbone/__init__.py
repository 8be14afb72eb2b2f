"""The second arrow of the flow: views -> features of a frozen, pretrained ViT.

`load.load_backbone` makes a `backbone.Backbone` of a catalogue name or the name of any plain ViT of timm;
`backbone(images)` gives `features.Features`. Nothing is imported here, so that names and options (`catalogue`,
`config`) can be listed without waiting for torch and timm.
"""
