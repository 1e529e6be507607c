"""What the notebooks call: runs watched and started, a trained network looked into."""
