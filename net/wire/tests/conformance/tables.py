# Prints the layout tables as lines of tab-separated fields, for the tests written in Rust.
import sys

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import nasdaq_layouts as tables


def message(family, code, name, fields, appendage="-", tags=()):
    print("message", family, code, name, appendage, ",".join(str(tag).rstrip("*") for tag in tags), sep="\t")
    for field, length, kind in fields:
        print("field", field, length, kind, sep="\t")


for code, (name, fields) in tables.ITCH.items():
    message("ITCH", code, name, fields)
for code, (name, fields, appendage, tags) in tables.OUCH_IN.items():
    message("IN", code, name, fields, appendage, tags)
for code, (name, fields, appendage, tags) in tables.OUCH_OUT.items():
    message("OUT", code, name, fields, appendage, tags)
for tag, (name, length, kind) in tables.TAGS.items():
    print("option", tag, name, length, kind, sep="\t")
for code, (name, sender, fields) in tables.SOUP.items():
    message("SOUP", code, name, fields)
