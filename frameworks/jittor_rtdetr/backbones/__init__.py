"""Backbones: feature maps of strides 8, 16, 32 for the encoder."""
