"""The page of a parity session: python -m reports.parity_page RECORDS OUT_DIR. See `reports/parity/page.py`."""

import sys

from reports.parity.page import main

if __name__ == "__main__":
    sys.exit(main())
