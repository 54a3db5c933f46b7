"""structlog, without rich: found, it is imported for tracebacks in colours, which nobody here draws.

That took 9 MiB of each process and a twentieth of its start.
"""

import sys
from typing import Any, cast

_found = sys.modules.get("rich")
sys.modules["rich"] = cast("Any", None)  # to import it now is an ImportError, which structlog expects
try:
    import structlog as structlog  # who configures it imports it from here
finally:
    del sys.modules["rich"]
    if _found is not None:
        sys.modules["rich"] = _found

get_logger = structlog.get_logger
