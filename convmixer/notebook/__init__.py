"""The functions that the notebooks call: to start and watch runs, and to look into a trained network."""
