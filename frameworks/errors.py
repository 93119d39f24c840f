"""The one exception that a command shows to its user as a single line."""


class UserError(Exception):
    """What was given, what was expected, where, and what to do: one line, no traceback, exit status 2."""
