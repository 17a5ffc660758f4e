"""The exceptions that a user is meant to see."""


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what is wrong, where, and how to mend it.

    The command line prints it alone on standard error and exits with status 2; library callers catch it like
    any other exception. Programming errors stay ordinary exceptions.
    """


class Stopped(Exception):  # noqa: N818 - no error
    """Somebody asked a training to end before it was done, and it has saved. The message says where it stands.

    The command line prints it and exits with status 0, so that a scheduler starts the run again without an alarm.
    """
