"""How good the product's presets are, on public data and on problems that ask for memory."""
