"""Files of weights, in and out: formats, names, accounts of what fits, official checkpoints."""
