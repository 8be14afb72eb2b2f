"""The paper's solver of stage 1: F as a hash-grid network, G as a map, h as a network, fitted by gradient steps."""
