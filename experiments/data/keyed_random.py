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


class Draws:
    """A sequence of draws of one purpose and key, for a change that draws an unknown number of times.

    Draw number n is `uniform(purpose, *key, n)`. Sequences of different purposes do not influence each other.
    """

    def __init__(self, purpose: str, *key: int) -> None:
        self._purpose, self._key, self._drawn = purpose, key, 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float from `low` to `high`."""
        value = uniform(self._purpose, *self._key, self._drawn)
        self._drawn += 1
        return low + (high - low) * value

    def chance(self, probability: float) -> bool:
        """True with the given probability; never at 0, always at 1."""
        return self.uniform() < probability

    def index(self, count: int) -> int:
        """An integer from 0 to `count` - 1."""
        return int(self.uniform() * count)

    def permutation(self, count: int) -> list[int]:
        """The integers from 0 to `count` - 1 in random order."""
        return sorted(range(count), key=[self.uniform() for _ in range(count)].__getitem__)
