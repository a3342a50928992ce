"""TCP echo, for the ends of a tunnel.

    echo.py serve ADDRESS PORT                 says `ready`, and answers until killed
"""
import hashlib
import socket
import sys
import threading


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def answer(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def serve(address, port):
    with socket.create_server((address, port), family=family(address)) as listening:
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def ask(address, port, octets):
    """Sends so many, wants them back, and exits unless they are the same; returns the largest segment."""
    data = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(octets // 32))
    with socket.create_connection((address, port), timeout=10) as connection:

        def send():
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        back = b""
        while chunk := connection.recv(65536):
            back += chunk
        sender.join()
        segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    if back != data:
        sys.exit(f"{len(data)} octets went, {len(back)} came back, and not the same")
    return segment


if __name__ == "__main__":
    serve(sys.argv[2], int(sys.argv[3]))
