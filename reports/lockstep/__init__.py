"""The page of a lockstep session: divergence of two frameworks inside the envelope of each one from itself."""
