"""The ids of calls: unique, as random ones for each call would be at some twenty times the cost."""

import secrets

# The last digits of numbers: to format one takes five times as long as to look it up.
_DIGITS = 3
_PLACES: int = 16**_DIGITS
_LAST_DIGITS = tuple(f"{number:0{_DIGITS}x}" for number in range(_PLACES))


class CallIds:
    """Numbers the calls of a process. `owner` names it, and is part of the ids: two must not have the same."""

    def __init__(self, owner: str | None = None) -> None:
        self._owner = owner or secrets.token_hex(8)
        self._number = self._second = 0
        self._beginning = ""

    def next(self, second: int) -> str:
        """The id of a call that begins in this second since the epoch: see `second_of`."""
        number = self._number
        self._number = number + 1
        last = number % _PLACES
        if second != self._second or not last:
            self._second = second
            self._beginning = f"{second:08x}{self._owner}{number // _PLACES:05x}"
        return self._beginning + _LAST_DIGITS[last]

    def another(self, identifier: str) -> str:
        """One more id of a call that has one."""
        self._number += 1
        return f"{identifier}.{self._number:x}"
