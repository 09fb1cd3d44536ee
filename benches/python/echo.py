"""Sends back what comes over standard input: a socket, or the end of a Connection.

It ends with the process at the other end.
"""

import socket
import sys
from multiprocessing.connection import Connection


def main(what):
    """Echo until the other end is closed."""
    if what == "connection":
        end = Connection(0)
        try:
            while True:
                end.send(end.recv())
        except (EOFError, OSError):
            return
    end = socket.socket(fileno=0)
    while message := end.recv(4096):
        end.sendall(message)


if __name__ == "__main__":
    main(sys.argv[1])
