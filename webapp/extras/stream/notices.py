"""Says a trouble once, however often it is met, and once that it is over."""

from collections.abc import Callable


class Notices:
    """`say` gets each line; `count` the kind of each trouble, whenever one begins."""

    def __init__(self, say: Callable[[str], None], count: Callable[[str], None]):
        self._say = say
        self._count = count
        self._troubles: set[str] = set()

    def trouble(self, kind: str, message: str) -> None:
        """Say what is wrong, unless it is known already that something of this kind is."""
        if kind not in self._troubles:
            self._troubles.add(kind)
            self._count(kind)
            self._say(message)

    def over(self, kind: str, message: str) -> None:
        """Say that it goes on, if anything of this kind was wrong."""
        if kind in self._troubles:
            self._troubles.remove(kind)
            self._say(message)
