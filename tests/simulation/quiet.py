"""Silence about what killed processes had open."""

from __future__ import annotations

import sys
import warnings


def quiet() -> None:
    """The garbage collector ends it without a word, as the kernel would."""
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore", RuntimeWarning)
