"""Processes that decode and augment images, and the batches' way to them."""
