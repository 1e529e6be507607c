"""A trained network in use: measured, asked about images, taken away, brought in, begun from."""
