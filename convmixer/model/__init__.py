"""The network: its layers, the paper's sizes, its initialization, and conversion of weights to other layouts."""
