"""The one exception that a user is meant to see."""


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what is wrong, where, and how to mend it.

    The command line prints it alone on standard error and exits with status 2; library callers catch it like
    any other exception. Programming errors stay ordinary exceptions.
    """
