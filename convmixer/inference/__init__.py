"""A trained network at work: measured on labelled images, asked about others."""
