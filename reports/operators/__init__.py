"""The pages of the operator atlas, from its records alone: the atlas, and the table for people who port."""
