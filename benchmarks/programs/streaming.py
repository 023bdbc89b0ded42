"""Runs on lab hosts, which get it by stdin: a server of zeros, and who reads them and asks beside.

serve PORT SIZE            sends SIZE bytes to each who connects
read PORT                  seconds until all that 127.0.0.1:PORT sends has come
ask PORT CLIENTS SECONDS   latencies of CLIENTS that each ask for the gateway's health once a
                           second, as JSON, in seconds
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time

CHUNK = 1 << 20


def serve(port: int, size: int) -> None:
    class Zeros(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            left, chunk = size, bytes(CHUNK)
            while left:
                self.request.sendall(chunk[:left])
                left -= min(left, CHUNK)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Zeros) as server:
        server.serve_forever()


def read(port: int) -> None:
    buffer, begun = bytearray(CHUNK), time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        while connection.recv_into(buffer):
            pass
    print(time.monotonic() - begun)


def ask(port: int, clients: int, seconds: float) -> None:
    latencies: list[float] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        time.sleep(number / clients)
        while time.monotonic() < end:
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(b"GET /api/v1/health HTTP/1.0\r\n\r\n")
                while connection.recv(CHUNK):
                    pass
            latencies.append(time.monotonic() - begun)
            time.sleep(max(0.0, begun + 1 - time.monotonic()))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(sorted(latencies)))


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    {"serve": serve, "read": read, "ask": ask}[what](*map(int, numbers))
