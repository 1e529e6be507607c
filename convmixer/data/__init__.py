"""Images: where they come from, how they are kept, and the batches made of them."""
