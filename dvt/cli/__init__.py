"""The `dvt` command: verbs over the library. No other package imports Hydra."""
