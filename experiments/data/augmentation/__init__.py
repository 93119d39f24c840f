"""Random changes to training images and their boxes, as in the official pipeline, for every framework."""
