# Reads native messages, each behind its length in two bytes, with the package sbe and the schema named; prints each
# message's name and values in order, tab-separated, those of a group's entries behind those of the block.
import sys

import sbe


def values(fields):
    for value in fields.values():
        if isinstance(value, list):
            for entry in value:
                yield from values(entry)
        else:
            yield value


with open(sys.argv[1], encoding="utf-8") as schema:
    schema = sbe.Schema.parse(schema)
stream = sys.stdin.buffer
while length := stream.read(2):
    message = schema.decode(stream.read(int.from_bytes(length, "big")))
    print(message.message_name, *values(message.value), sep="\t")
