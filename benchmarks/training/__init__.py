"""How fast the presets train: against torch alone, NeuralForecast, and what the machine can do."""
