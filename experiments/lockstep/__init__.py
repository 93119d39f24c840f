"""Lockstep: two frameworks train side by side, beside runs of each that start one unit in the last place away."""
