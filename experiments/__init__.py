"""Commands that train, evaluate, measure and diagnose."""

import reports  # noqa: F401  # keeps a notebook's backend away from matplotlib, which some modules import first
