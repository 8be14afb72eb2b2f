"""Methods: everything that turns images into features, under one protocol, by name."""
