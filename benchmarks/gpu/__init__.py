"""All that is measured on a GPU, in two runs of a few minutes each."""
