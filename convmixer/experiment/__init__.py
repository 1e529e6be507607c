"""One run: from built parts to its summary."""
