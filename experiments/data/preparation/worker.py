"""Process that prepares images: tasks come on standard input, examples go to the real standard output, pickled.

It ends when its input does, and therefore with the process that started it, however that one ends.
"""

import contextlib
import os
import pickle
import sys
import traceback

from experiments.data.preparation.example import prepare_example
from frameworks.errors import UserError


def main() -> None:
    """Serve until standard input ends. A reply is an Example, a UserError, or the traceback of another error."""
    tasks, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not read as a reply
    with contextlib.suppress(EOFError, pickle.UnpicklingError, BrokenPipeError):  # the other side is gone
        while True:
            task = pickle.load(tasks)
            try:
                reply = prepare_example(task)
            except UserError as error:
                reply = error
            except Exception:
                reply = traceback.format_exc()
            pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
            replies.flush()
    os._exit(0)  # without a second try to write what could not be written


if __name__ == "__main__":
    main()
