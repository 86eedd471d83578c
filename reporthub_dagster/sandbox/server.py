"""The fork server: a process that has loaded pandas and knows nothing else, and forks itself for each script.

Started as a program of its own with a clean environment, it imports nothing of ReportHub outside this folder:
neither settings nor rows nor connections ever were in its memory, of which each script gets a copy. It reads
no rows and no results; it only hands on open files.

It is told what to do on a socket: a datagram `{"seconds": 300}` with the files of a job, the first of which
is a socket for the answer, `{"status": 0, "late": false}`. Whoever closes that socket ends the script. The
server ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Never

_MOST_INPUTS = 200
_OWN_FILES = 5
"""Answer, job, outcome, what is printed, result."""


@dataclass(slots=True)
class _Running:
    """A script's process.

    Attributes:
        deadline: By the monotonic clock.
        late: It has been ended for that.
    """

    pid: int
    handle: int
    answer: socket.socket
    deadline: float
    late: bool = False

    def end(self) -> None:
        """End it at once; what it does with signals does not matter."""
        signal.pidfd_send_signal(self.handle, signal.SIGKILL)


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._running: dict[int, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Run scripts until whoever started this process has gone."""
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    if not self._start():
                        return
                elif key.fd == key.data.handle:
                    self._finish(key.data)
                elif key.data.pid in self._running:
                    key.data.end()
                    self._selector.unregister(key.data.answer)
            self._end_late()

    def _patience(self) -> float | None:
        deadlines = [one.deadline for one in self._running.values() if not one.late]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end_late(self) -> None:
        for one in self._running.values():
            if not one.late and time.monotonic() >= one.deadline:
                one.late = True
                one.end()

    def _start(self) -> bool:
        """Fork for a job; False when nobody is there any more."""
        said, files, _, _ = socket.recv_fds(self._control, 4096, _OWN_FILES + _MOST_INPUTS)
        if not said:
            return False
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(files[1:], parent)
        answer = socket.socket(fileno=files[0])
        for descriptor in files[1:]:
            os.close(descriptor)
        deadline = time.monotonic() + json.loads(said)["seconds"]
        running = self._running[pid] = _Running(pid, os.pidfd_open(pid), answer, deadline)
        self._selector.register(running.handle, selectors.EVENT_READ, running)
        self._selector.register(answer, selectors.EVENT_READ, running)
        return True

    def _finish(self, running: _Running) -> None:
        _, status = os.waitpid(running.pid, 0)
        self._selector.unregister(running.handle)
        if running.answer.fileno() in self._selector.get_map():
            self._selector.unregister(running.answer)
        os.close(running.handle)
        del self._running[running.pid]
        with running.answer as answer:
            said = {"status": os.waitstatus_to_exitcode(status), "late": running.late}
            try:
                answer.send(json.dumps(said).encode())
            except OSError:
                return  # whoever asked has gone


def _become(files: list[int], parent: int) -> Never:
    """Be a script's process: nothing of the server's is left open but its job's files."""
    from reporthub_dagster.sandbox import child  # noqa: PLC0415 - loaded long ago, with pandas

    try:
        first = 3
        for descriptor in sorted(files):
            os.closerange(first, descriptor)
            first = descriptor + 1
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
        job, outcome, printed, result, *inputs = files
        child.run(child.Files(job, outcome, printed, result, tuple(inputs)), parent)
    finally:
        os._exit(1)


def main() -> None:
    """Serve on the socket whose descriptor is the argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a person's Ctrl-C is for who asked; it then closes the socket
    try:
        from reporthub_dagster.sandbox import preload  # noqa: PLC0415 - its absence is said on the socket

        kept = preload.load()
    except ImportError as error:
        control.send(json.dumps({"problem": f"{type(error).__name__}: {error}"}).encode())
        return
    control.send(json.dumps({"ready": len(kept)}).encode())
    _Server(control).serve()


if __name__ == "__main__":
    main()
