"""Random draws that depend on their key alone.

A draw is a hash of its purpose and key; no generator is advanced. A resumed run, a run of another framework and a
run under another NumPy (whose `Generator` methods may change between versions) therefore draw the same numbers.
"""

import hashlib


def uniform(purpose: str, *key: int) -> float:
    """A float in [0, 1), the same for the same `purpose` and `key` on every machine."""
    text = ":".join([purpose, *(str(part) for part in key)])
    leading_64_bits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return (leading_64_bits >> 11) * 2.0**-53  # 53 bits: every value is exact in a double
