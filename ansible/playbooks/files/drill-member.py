#!/usr/bin/env python3
"""A member who trades while a venue's pair is drilled, and finds out whether anything was lost.

OUCH 5.0 over SoupBinTCP, written from the specifications with Python's standard library alone, so that it shares nothing with the venue.
It knows both nodes' addresses, goes on at whichever lets it in, at the next sequence number, and sends again what was not answered.
When the time is over it logs in once more from the first message on: what it had heard must stand there, byte by byte, and each of
its orders must have had one answer. Orders are bids far from the market, each cancelled as soon as it is accepted.

The password is read from the environment: DRILL_PASSWORD. One JSON object on standard output; exit code 1 when something was lost.
"""

import argparse
import json
import os
import socket
import struct
import sys
import time

SILENCE_S = 3.0
HEARTBEAT_S = 1.0


class Gone(Exception):
    """The connection ended, or nobody speaks on it."""


class Member:
    """One session, over as many connections as it takes."""

    def __init__(self, options, password):
        self.options, self.password = options, password
        self.socket, self.buffer, self.at = None, b"", 0
        self.next = 1
        self.heard = {}
        self.logins = 0
        self.spoke = self.listened = 0.0
        # Requests in the order in which they were made, until they are answered: ("O" or "X", number) → bytes.
        self.unanswered = {}
        self.accepted, self.refused = set(), set()
        self.next_number = None
        self.answered_at, self.longest_silence = None, 0.0

    def connect(self, first, deadline):
        """Logs in at sequence number `first` with whichever node lets it in."""
        while time.monotonic() < deadline:
            address = self.options.address[self.at % len(self.options.address)]
            self.at += 1
            host, port = address.rsplit(":", 1)
            try:
                self.socket = socket.create_connection((host, int(port)), 1.0)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.buffer = b""
                self.listened = time.monotonic()
                login = self.options.username.ljust(6) + self.password.ljust(10) + " " * 10 + str(first).rjust(20)
                self.packet(b"L", login.encode())
                kind, payload = self.receive(2.0)
                if kind == b"A":
                    # The venue says from which number on it tells.
                    self.next = int(payload[10:30])
                    self.logins += 1
                    return
                if kind == b"J" and payload[:1] == b"A":
                    raise SystemExit("drill-member: the venue refuses user name or password")
            except (OSError, Gone):
                pass
            self.close()
            time.sleep(0.02)
        raise SystemExit("drill-member: no node lets it in")

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def packet(self, kind, payload=b""):
        self.socket.sendall(struct.pack(">Hc", len(payload) + 1, kind) + payload)
        self.spoke = time.monotonic()

    def receive(self, patience):
        """The next packet: its type and its payload; (None, b"") when there is none within `patience` seconds."""
        until = time.monotonic() + patience
        while True:
            if len(self.buffer) >= 2:
                length = struct.unpack(">H", self.buffer[:2])[0]
                if len(self.buffer) >= 2 + length:
                    kind, payload = self.buffer[2:3], self.buffer[3 : 2 + length]
                    self.buffer = self.buffer[2 + length :]
                    return kind, payload
            left = until - time.monotonic()
            if left <= 0:
                return None, b""
            self.socket.settimeout(left)
            try:
                chunk = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            if not chunk:
                raise Gone
            self.buffer += chunk
            self.listened = time.monotonic()

    def hear(self, patience):
        """Takes one packet, if there is one; whether there was."""
        now = time.monotonic()
        if now - self.spoke > HEARTBEAT_S:
            self.packet(b"R")
        if now - self.listened > SILENCE_S:
            raise Gone
        kind, payload = self.receive(patience)
        if kind == b"S":
            self.message(self.next, payload)
            self.next += 1
        elif kind == b"Z":
            raise SystemExit("drill-member: the venue ended the session")
        return kind is not None

    def message(self, number, message):
        known = self.heard.setdefault(number, message)
        if known != message:
            raise SystemExit(f"drill-member: LOST: message {number} was {known.hex()} and is {message.hex()}")
        kind = message[:1]
        if kind == b"Q":
            self.next_number = struct.unpack(">I", message[9:13])[0]
            return
        if kind not in (b"A", b"J", b"C"):
            return
        order = struct.unpack(">I", message[9:13])[0]
        if kind == b"A" and self.unanswered.pop(("O", order), None):
            self.accepted.add(order)
            self.request("X", order, struct.pack(">cII", b"X", order, 0))
            self.moved()
        elif kind == b"J" and self.unanswered.pop(("O", order), None):
            self.refused.add(order)
            self.moved()
        elif kind == b"C":
            self.unanswered.pop(("X", order), None)

    def moved(self):
        now = time.monotonic()
        if self.answered_at is not None:
            self.longest_silence = max(self.longest_silence, now - self.answered_at)
        self.answered_at = now

    def request(self, kind, number, message):
        self.unanswered[(kind, number)] = message
        self.packet(b"U", message)

    def enter(self, number):
        symbol = self.options.symbol.ljust(8).encode()
        message = struct.pack(">cIcI8sQccccc14sH", b"O", number, b"B", 1, symbol, self.options.price, b"0", b"Y", b"P", b"N", b"N", b" " * 14, 0)
        self.request("O", number, message)

    def again(self, deadline):
        """Another node, or the same one, and what it has not answered once more."""
        self.close()
        self.connect(self.next, deadline)
        for message in list(self.unanswered.values()):
            self.packet(b"U", message)


def drill(options, password):
    member = Member(options, password)
    # The time runs from the first order on: a long day's messages are heard before.
    end, last = None, time.monotonic() + options.patience
    member.connect(1, last)
    # Numbers of earlier runs of the day are used, and one that is used is not answered. The messages of those runs come first,
    # with the answers to their queries: so it is asked until it is answered the same twice, with nothing behind it.
    member.packet(b"U", b"Q")
    asked_from = told = member.next_number
    entered, due, number = 0, None, None
    while end is None or time.monotonic() < end or member.unanswered:
        if time.monotonic() > last:
            break
        try:
            if number is None:
                member.hear(0.1)
                if member.next_number is not asked_from and not member.hear(0.3):
                    if member.next_number == told:
                        number, due = told, time.monotonic()
                        end, last = due + options.seconds, due + options.seconds + options.patience
                        continue
                    told, member.next_number = member.next_number, asked_from
                    member.packet(b"U", b"Q")
                continue
            now = time.monotonic()
            if now < end and now >= due and len(member.unanswered) < options.unanswered_max:
                member.enter(number)
                entered, number, due = entered + 1, number + 1, max(due + options.every, now - 1)
            if options.until and os.path.exists(options.until):
                end = min(end, now)
            member.hear(max(0.0, min(0.05, due - time.monotonic())) if now < end else 0.05)
        except (OSError, Gone):
            member.again(last)
            if number is None:
                member.packet(b"U", b"Q")
    outcome = {
        "orders": entered,
        "accepted": len(member.accepted),
        "refused": len(member.refused),
        "unanswered": len(member.unanswered),
        "logins": member.logins,
        "messages": len(member.heard),
        "longest_silence_ms": round(member.longest_silence * 1000),
    }
    outcome["missing"] = compare(member, last + options.patience)
    print(json.dumps(outcome))
    answered = outcome["accepted"] + outcome["refused"]
    return not (outcome["unanswered"] or outcome["missing"] or outcome["orders"] != answered or not entered)


def compare(member, deadline):
    """Hears the whole session again: how many messages are not there any more. One that has changed ends the program."""
    try:
        member.packet(b"O")
    except OSError:
        pass
    member.close()
    until = max(member.heard)
    time.sleep(0.2)
    member.connect(1, deadline)
    while member.next <= until and time.monotonic() < deadline:
        try:
            member.hear(0.5)
        except (OSError, Gone):
            member.close()
            member.connect(member.next, deadline)
    return max(0, until - member.next + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="+", help="HOST:PORT of each node's order entry")
    parser.add_argument("--username", required=True)
    parser.add_argument("--symbol", required=True)
    parser.add_argument("--price", type=int, default=100, help="of the bids, in 1/10,000 (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it trades (default: %(default)s)")
    parser.add_argument("--until", help="it ends sooner when there is this file")
    parser.add_argument("--every", type=float, default=0.01, help="seconds from order to order (default: %(default)s)")
    parser.add_argument("--unanswered-max", type=int, default=50, help="requests that may wait (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds in which a node must let it in (default: %(default)s)")
    options = parser.parse_args()
    password = os.environ.get("DRILL_PASSWORD")
    if password is None:
        parser.error("DRILL_PASSWORD is not in the environment")
    sys.exit(0 if drill(options, password) else 1)


if __name__ == "__main__":
    main()
