"""A module that raises when it is imported."""


def start():
    return 1 / 0


start()
