"""Reports of runs, of parity and of benchmarks, from records alone."""

import os

# matplotlib cannot be imported where this names a backend that is not installed, as a notebook's is not in another
# venv. Figures are written into files, whatever it says.
os.environ["MPLBACKEND"] = "agg"
