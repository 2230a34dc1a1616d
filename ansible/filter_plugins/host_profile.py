"""What a host profile says is to be set: one spec for the doctor, which reads it back, and for the roles, which set it."""

import tomllib
from pathlib import Path

from ansible.errors import AnsibleFilterError

FOLDER = Path(__file__).resolve().parents[2] / "tuning" / "profiles"
DISK = "{disk}/"


def host_profile(name):
    """The settings of a built-in profile, or of the .toml file of that path.

    A mapping with `kernel`, arguments of the command line, in which `{order}` and `{housekeeping}` stand for CPUs; `sysctl`, parameters by
    name; `files`, a `path` (with `*` in it) and the `value` that is written into it; `disk`, an `attribute` of the data disk and its `value`.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        items = tomllib.loads(path.read_text())["item"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        known = ", ".join(sorted(profile.stem for profile in FOLDER.glob("*.toml")))
        raise AnsibleFilterError(f"{name} is no host profile ({error}); built in are {known}") from error
    fixes = [(item.get("fix", {}), item["probe"].get("path", "")) for item in items]
    written = [(path, fix["write"]) for fix, path in fixes if "write" in fix]
    return {
        "kernel": list(dict.fromkeys(word for fix, _ in fixes for word in fix.get("kernel", []))),
        "sysctl": {name: value for fix, _ in fixes for name, value in fix.get("sysctl", {}).items()},
        "files": [{"path": path, "value": value} for path, value in written if not path.startswith(DISK)],
        "disk": [{"attribute": path.removeprefix(DISK), "value": value} for path, value in written if path.startswith(DISK)],
    }


class FilterModule:
    """Found by Ansible."""

    def filters(self):
        """Its one filter."""
        return {"host_profile": host_profile}
