"""Does what the test sends over a virtio port, and is the guest's first process.

A request is one line of JSON with an `id`, which its answer repeats: {"id": 1, "seconds": 10, ...} and one of
    "script": "..."         runs it in a shell
    "talk": {...}           pings and TCP, see `talk.py`
    "counters": true        what the kernel has counted, see `counters.py`
The answer is one line of JSON, {"id": 1, "status": 0, "output": "..."} with standard output and standard error together.

Starting a program is the slowest thing in an emulated machine, so what every row needs is done in here.
"""
import json
import os
import signal
import sys
import tempfile
import time
import traceback

import counters
import talk

PORT = "/dev/vport{}p1"
# More would only make a failed test slow to read.
LONGEST = 200_000


def run(start, seconds):
    """Waits for the process that `start` makes with the file for its output; it leads a group of its own."""
    # Into a file and not a pipe: a script may leave a daemon behind that holds the pipe open.
    with tempfile.TemporaryFile() as output:
        pid = start(output)
        late = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > late:
                os.killpg(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                status = 124 << 8
                break
            time.sleep(0.005)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read(LONGEST).decode(errors="replace")


def shell(script):
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.execv("/bin/sh", ["sh", "-c", script])


def fork(action):
    """Calls `action` in a copy of this process."""

    def start(output):
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            action()
            status = 0
        except BaseException:  # noqa: B902, also what `sys.exit` raises
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    return start


def answer(request):
    if "script" in request:
        return run(fork(lambda: shell(request["script"])), request["seconds"])
    if "talk" in request:
        return run(fork(lambda: talk.talk(request["talk"])), request["seconds"])
    return 0, json.dumps(counters.all_of_them())


def main():
    path = next(path for path in map(PORT.format, range(8)) if os.path.exists(path))
    with open(path, "r+b", buffering=0) as port:
        port.write(b'{"id":0,"status":0,"output":"ready"}\n')
        waiting = b""
        while True:
            chunk = port.read(65536)
            if not chunk:
                # The other end is not connected (yet).
                time.sleep(0.05)
                continue
            waiting += chunk
            while b"\n" in waiting:
                line, waiting = waiting.split(b"\n", 1)
                request = json.loads(line)
                status, output = answer(request)
                reply = {"id": request["id"], "status": status, "output": output}
                rest = json.dumps(reply).encode() + b"\n"
                while rest:
                    # At most 32 KiB at once.
                    rest = rest[port.write(rest) :]


main()
