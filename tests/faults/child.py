"""Work done in a forked child to which something happens: a kill or a refusal at its n-th file operation or byte."""

import builtins
import errno
import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

REMOVALS = {"os.remove", "os.rmdir"}
CHANGES = {"os.mkdir", "os.rename", *REMOVALS}


def forked(prepare: Callable[[], None], work: Callable[[], object]) -> tuple[int, str]:
    """Status of a child that does `prepare` and `work`: 0, or minus the signal that ended it; 1 with its OSError."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3  # of anything but an OSError
        try:
            prepare()
            work()
            status = 0
        except OSError as error:
            os.write(writing, str(error).encode())
            status = 1
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def at_operation(number: int, act: Callable[[str], None]) -> Callable[[], None]:
    """What a child prepares so that `act(kind)` happens at its change `number` of the disk and at every later one.

    A change is a file opened for writing or created (before, and when it is there and empty), a folder made, a rename,
    a removal, or an fsync. Libraries that write from C++ or Rust are not seen here; `at_byte` sees them.
    """

    def prepare() -> None:
        counted = iter(range(sys.maxsize))

        def happen(kind: str) -> None:
            if next(counted) >= number:
                act(kind)

        def hook(event: str, arguments: tuple) -> None:
            if (
                event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            ) or event in CHANGES:
                happen(event)

        def counted_open(*arguments, **options):
            file = opened(*arguments, **options)
            if file.writable():
                happen("opened")
            return file

        opened = io.open
        builtins.open = io.open = counted_open  # the second is pathlib's
        sys.addaudithook(hook)
        os.fsync = lambda handle: happen("fsync")  # what it is for, a power failure, does not happen here

    return prepare


def at_byte(number: int, *, kill: bool) -> Callable[[], None]:
    """What a child prepares so that byte `number` of any file cannot be written: EFBIG, or the end by SIGXFSZ."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, resource.RLIM_INFINITY))

    return prepare


def kill(kind: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(kind: str) -> None:
    """A full disk lets files be removed."""
    if kind not in REMOVALS:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(kind: str) -> None:
    """A file system that was mounted again, read-only, after an error of the disk."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def every_operation(
    act: Callable[[str], None], work: Callable[[], object], stride: int = 1
) -> Iterator[tuple[int, str]]:
    """Status and message of one child for each of its changes, `act` being done at that one; the last one ends well.

    The caller puts everything back between two of them.
    """
    number, status = 0, 1
    while status != 0:
        status, said = forked(at_operation(number, act), work)
        assert status != 3, "an error that is no OSError"
        yield status, said
        number += stride
