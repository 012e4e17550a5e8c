"""Sans-IO: the regular expressions of `matches`: Python's, without those that may run for ever.

`re` backtracks: with `(a+)+b` 30 characters take minutes, in which the censor decides nothing. A repetition without
limit in another one is refused; that is the common mistake, not every possible one, so the text searched is cut too.
"""

from __future__ import annotations

import re
import warnings

SUBJECT_LIMIT_CHARACTERS = 1024
_PART = re.compile(
    r"""(?P<escape>\\.)
    | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
    | (?P<open>\()
    | (?P<close>\))
    | (?P<endless>[*+]|\{[0-9]*,\})
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def compile_pattern(text: str) -> re.Pattern[str]:
    """The regular expression `text`. Raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "possible nested set": the next Python may read it another way
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"no regular expression: {error}") from error
    if _nests_endless(text):
        raise ValueError(
            "a repetition without limit (`*`, `+`, `{1,}`) in another may take for ever; limit the inner one: `{1,63}`"
        )
    return pattern


def _nests_endless(text: str) -> bool:
    """Whether a group in `text` that has an endless repetition in it is repeated endlessly. `text` is valid."""
    groups = [False]  # of each open group: whether it has one
    closed = False  # whether the part before is a group that has one
    for part in _PART.finditer(text):
        was_closed, closed = closed, False
        if part.lastgroup == "open":
            groups.append(False)
        elif part.lastgroup == "close" and len(groups) > 1:  # a comment may have brackets that open nothing
            closed = groups.pop()
            groups[-1] |= closed
        elif part.lastgroup == "endless":
            if was_closed:
                return True
            groups[-1] = True
    return False
