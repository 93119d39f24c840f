"""The exception that commands show to the user as one line."""


class UserError(Exception):
    """A mistake in what the user gave: its message says what, where, and what to do. Commands exit with status 2."""
