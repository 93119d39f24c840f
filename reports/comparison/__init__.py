"""Several runs side by side: what differs in what decides a result, their numbers, their loss curves."""
