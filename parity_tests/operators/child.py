"""The process that runs Jittor: it may crash or hang, and its parent starts another one.

    python -m parity_tests.operators.child FD

A request is a line of JSON on standard input; the answer is a pickle in a line of base64 on the file descriptor FD,
since Jittor prints on standard output.
"""

import base64
import json
import os
import pickle
import sys

from frameworks.jittor_rtdetr.runtime.environment import import_jittor
from parity_tests.operators.catalogue import OPERATORS
from parity_tests.operators.frameworks import in_jittor

AT_ONCE = ("AttributeError", "TypeError")  # raised before anything ran; after others, the graph may be damaged


def main() -> None:
    """Answer requests until the standard input is closed, or an exception may have left a damaged graph."""
    by_name = {operator.name: operator for operator in OPERATORS}
    jt = import_jittor("cpu")
    with os.fdopen(int(sys.argv[1]), "w") as pipe:
        print("ready", file=pipe, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            operator = by_name[asked["operator"]]
            call = getattr(operator, asked["call"])
            jt.set_global_seed(0)
            answer = in_jittor(jt, call, operator, asked["label"], asked["dtype"])
            print(base64.b64encode(pickle.dumps(answer)).decode(), file=pipe, flush=True)
            if any(name not in AT_ONCE for name, _ in answer.get("errors", {}).values()):
                break


if __name__ == "__main__":
    main()
