"""The operator atlas: PyTorch and Jittor against a NumPy truth, one operator at a time (``nox -s operators``)."""
