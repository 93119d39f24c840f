"""The exception that commands show to the user as one line."""


class UserError(Exception):
    """A mistake in what the user gave; the message says what, where, and what to do. Exit status 2."""
