"""Building a network on meta, weighing it, training it, and asking it for predictions."""
