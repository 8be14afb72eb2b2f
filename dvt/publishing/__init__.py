"""The published artefact: a folder with `weights.safetensors`, `config.json` and a card, here or on the hub.

`model_info` says what a model is, `model_folder` reads and writes it whole or not at all, `model_card` describes it,
`publish` saves, sends and fetches it, `hf_hub` talks to the hub. Nothing is imported here.
"""
