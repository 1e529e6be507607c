"""The network: its layers, the paper's sizes, its initial weights, other people's layouts of weights."""
