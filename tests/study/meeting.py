"""Work that two processes can do only at the same time; without torch, so that they begin soon."""

import os
import time

OTHER = {"a": "b", "b": "a", "c": "d", "d": "c"}


def meet(stage, scale, place, until, beside) -> bool:
    """Leave a file of this stage's name; whether the other stage's file appears while this one waits for it."""
    (place.output / stage.name).write_text(str(os.getpid()))
    while not (place.output / OTHER[stage.name]).exists():
        if time.time() > until:
            return False
        time.sleep(0.01)
    return True
