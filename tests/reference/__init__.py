"""The arithmetic of the original, written from its equations, for parity tests."""
