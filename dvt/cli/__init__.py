"""The `dvt` command: verbs over the library. Hydra lives here and nowhere below."""
