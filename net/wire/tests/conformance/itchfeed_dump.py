# Reads a stream of ITCH messages, each behind its length in two bytes, with the package itchfeed; prints each
# message's fields in order, tab-separated: numbers in decimal, text in hexadecimal behind an `x`.
import io
import sys

from itch.parser import MessageParser

for message in MessageParser().parse_file(io.BytesIO(sys.stdin.buffer.read())):
    fields = dict(vars(message))
    timestamp = fields.pop("timestamp")
    fields = list(fields.values())
    fields.insert(2, timestamp)
    print(message.message_type.decode(), *(f"x{f.hex()}" if isinstance(f, bytes) else f for f in fields), sep="\t")
