"""`python -m trace_net`."""

import sys

from trace_net.main import main

sys.exit(main())
