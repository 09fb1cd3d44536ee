"""A module that cannot be imported, because of what it imports."""

import not_installed

not_installed.start()
