#!/usr/bin/env python3
"""Answers NTP requests (RFC 5905, section 7.3) on a UDP port of loopback with this machine's time, until it is ended: time_server.py PORT."""

import socket
import struct
import sys
import time

UNIX_TO_NTP = 2_208_988_800


def stamp():
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return struct.pack(">II", (seconds + UNIX_TO_NTP) & 0xFFFFFFFF, (nanos << 32) // 1_000_000_000)


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    while True:
        request, asker = server.recvfrom(512)
        received = stamp()
        if len(request) < 48 or request[0] & 7 != 3:
            continue
        # Leap 0, the request's version, mode 4; stratum 1; its poll; precision 2^-20 s; no delay, a dispersion of 2^-16 s.
        head = struct.pack(">BBbb", request[0] & 0x38 | 4, 1, request[2], -20)
        server.sendto(head + struct.pack(">II4s", 0, 1, b"LOCL") + received + request[40:48] + received + stamp(), asker)


if __name__ == "__main__":
    main()
