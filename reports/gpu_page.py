"""The page of a GPU: python -m reports.gpu_page RECORDS OUT_DIR. See `reports/parity/gpu.py`."""

import sys

from reports.parity.gpu import main

if __name__ == "__main__":
    sys.exit(main())
