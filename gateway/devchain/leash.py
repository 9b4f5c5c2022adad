"""Runs a program that ends when its parent does (Linux): ``python leash.py PROGRAM ARGUMENTS...``

A program of its own because the request must be made between fork and exec, where a process that has threads
must not run Python.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel for the signal, then becomes the program."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
