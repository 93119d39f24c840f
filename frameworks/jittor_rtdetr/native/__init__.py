"""Operators in C++ with OpenMP, for the CPU: the same as the formulas in ``operators.py``, several times faster.

Jittor's own kernels run on one core, and a chain of operations makes many passes over memory. Every header here has
a Python file beside it with the same name; ``frameworks/tests/test_jittor_native.py`` compares each operator with
its formula. A kernel reads shapes and numbers when it runs, so it is compiled once for each dtype.
"""
