"""A module that imports one that there is not."""

import there_is_no_such_module  # noqa: F401
