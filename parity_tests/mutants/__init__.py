"""Faults of porters, planted one at a time: which of them do the parity tests find?

The catalogue is the TOML files beside this one. ``python -m parity_tests.mutants`` plants every fault in a
temporary copy of the tree, runs the tests that can find it, and writes a record (see ``runner.py``).
"""
