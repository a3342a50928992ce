"""Runs commands that the test sends over a virtio port, and is the guest's first process.

A request is one line of JSON, {"script": "...", "seconds": 10}; the answer is one line of JSON,
{"status": 0, "output": "..."} with standard output and standard error together.
"""
import json
import os
import signal
import subprocess
import tempfile
import time

PORT = "/dev/vport{}p1"
# More would only make a failed test slow to read.
LONGEST = 200_000


def run(script, seconds):
    # Into a file and not a pipe: a script may leave a daemon behind that holds the pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = 124
        output.seek(0)
        return {"status": status, "output": output.read(LONGEST).decode(errors="replace")}


def main():
    path = next(path for path in map(PORT.format, range(8)) if os.path.exists(path))
    with open(path, "r+b", buffering=0) as port:
        port.write(b'{"status":0,"output":"ready"}\n')
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
                answer = run(request["script"], request["seconds"])
                port.write(json.dumps(answer).encode() + b"\n")


main()
