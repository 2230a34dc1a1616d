#!/usr/bin/env python3
"""Holds alert rules, their tests, dashboards and runbook against each other, and against what is really exposed.

    check.py --files DIR --runbook FILE --promtool FILE --exposed FILE [--exposed FILE ...]

DIR holds alerts.yml, alerts_test.yml and dashboards/*.json. Each --exposed FILE is the text of a scrape. Prints one line
for each fault; exit code 1 when there is one.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

AGGREGATIONS = {"sum", "min", "max", "avg", "count", "group", "topk", "bottomk", "quantile", "stddev", "stdvar", "count_values"}
# A list of labels in parentheses follows these.
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset", "atan2", "start", "end", "inf", "nan"}
# What Prometheus adds to every sample, or whoever writes its scrape configuration.
TARGET_LABELS = {"instance", "job", "venue"}
# Of these labels every value that a query asks for must be there; others, such as a phase, come and go.
WHOLE_LABELS = {"stage", "ring"}

TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<range>\[[^\]]*\])|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>\d[\w.]*)|(?P<name>[A-Za-z_:][\w:]*)|(?P<sign>=~|!~|!=|==|<=|>=|.)""",
    re.DOTALL,
)


def tokens(expression):
    """(kind, text) of each token but white space and ranges."""
    found = [(match.lastgroup, match.group()) for match in TOKEN.finditer(expression)]
    return [(kind, text) for kind, text in found if kind not in ("space", "range")] + [("end", "")]


def selectors(expression):
    """Each metric that a PromQL expression names, with its matchers: (name, [(label, operator, value)])."""
    parts, found, at = tokens(expression), [], 0
    while at < len(parts):
        kind, text = parts[at]
        at += 1
        if kind != "name" or text.lower() in OPERATORS:
            continue
        if text in GROUPINGS:
            if parts[at] == ("sign", "("):
                at = parts.index(("sign", ")"), at) + 1
            continue
        if parts[at] == ("sign", "(") or text in AGGREGATIONS:
            continue
        matchers = []
        if parts[at] == ("sign", "{"):
            end = parts.index(("sign", "}"), at)
            inside = [part for part in parts[at + 1 : end] if part != ("sign", ",")]
            matchers = [(inside[n][1], inside[n + 1][1], inside[n + 2][1][1:-1]) for n in range(0, len(inside), 3)]
            at = end + 1
        found.append((text, matchers))
    return found


SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+(?: \S+)?(?: #.*)?$")
LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')


def exposed(files):
    """By sample name: by label the values seen."""
    seen = {"up": {}}
    for file in files:
        for line in pathlib.Path(file).read_text().splitlines():
            sample = SAMPLE.match(line)
            if line.startswith("#") or not sample:
                continue
            labels = seen.setdefault(sample[1], {})
            for label, value in LABEL.findall(sample[2] or ""):
                labels.setdefault(label, set()).add(value)
    return seen


def query_faults(where, expression, seen):
    """What is wrong with the metrics and labels that a query names."""
    found = selectors(expression)
    if not found:
        yield f"{where}: it asks for no metric: {expression}"
    for name, matchers in found:
        if name not in seen:
            yield f"{where}: nothing exposes {name}"
            continue
        for label, operator, value in matchers:
            if label in TARGET_LABELS:
                continue
            values = seen[name].get(label)
            if values is None:
                yield f"{where}: {name} has no label {label}"
            elif label in WHOLE_LABELS:
                wanted = value.split("|") if operator in ("=~", "!~") else [value]
                yield from (f"{where}: {name} has no {label} {one}" for one in wanted if one not in values)


def dashboard_queries(path):
    """(where, expression) of each query of a dashboard, and (where, fault)s of its form."""
    board, queries, faults = json.loads(path.read_text()), [], []
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        faults.append(f"{path.name}: two panels have one id")
    for panel in board["panels"]:
        where = f"{path.name}: {panel['title']}"
        targets = panel.get("targets", [])
        if not targets:
            faults.append(f"{where}: it shows nothing")
        for target in targets:
            if target["datasource"]["uid"] != "${datasource}":
                faults.append(f"{where}: its data source is not the variable")
            # Asked over a range, a tile shows the last value that there was, also of what is no more.
            if panel["type"] == "stat" and not target.get("instant"):
                faults.append(f"{where}: a tile asks for what is so now (instant)")
            queries.append((where, target["expr"]))
    for variable in board["templating"]["list"]:
        query = variable["query"]["query"] if variable["type"] == "query" else ""
        values = re.fullmatch(r"label_values\((\w+), \w+\)", query)
        if values:
            queries.append((f"{path.name}: variable {variable['name']}", values[1]))
        elif variable["type"] == "query":
            faults.append(f"{path.name}: variable {variable['name']}: {query} is not understood")
    return board["uid"], queries, faults


def test_faults(rules, tests):
    """Alerts that no test makes speak, or sees silent before, and tests of alerts that there are not."""
    speaks, silent = set(), set()
    for test in tests["tests"]:
        for case in test["alert_rule_test"]:
            (speaks if case["exp_alerts"] else silent).add(case["alertname"])
    for alert in rules:
        if alert not in speaks:
            yield f"{alert}: no test makes it speak"
        if alert not in silent:
            yield f"{alert}: no test sees it silent"
    yield from (f"alerts_test.yml: there is no alert {alert}" for alert in sorted((speaks | silent) - set(rules)))


def runbook_faults(rules, text):
    """Alerts without a section that has all three parts, and sections without an alert."""
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE))
    for alert in rules:
        if alert not in sections:
            yield f"{alert}: the runbook has no section"
            continue
        for part in ("Cause", "Look", "Act"):
            if not re.search(rf"^\*\*{part}\.\*\* \S", sections[alert], re.MULTILINE):
                yield f"{alert}: the runbook does not say **{part}.**"
    yield from (f"the runbook's {name} is no alert" for name in sorted(set(sections) - set(rules)))


def promtool(program, *arguments):
    """What promtool says against it."""
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        yield f"promtool {arguments[0]} {arguments[1]}: {ran.stdout}{ran.stderr}"


def syntax_faults(program, queries):
    """Queries that are no PromQL, by promtool: each becomes a rule of a file."""
    rules = []
    for number, (where, expression) in enumerate(queries):
        whole = expression.replace("$__rate_interval", "5m").replace("$__interval", "1m")
        rules.append({"record": f"query:{number}", "expr": whole, "labels": {"where": where}})
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
        file.flush()
        yield from promtool(program, "check", "rules", file.name)


def main():
    """Checks everything, and prints what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=pathlib.Path, required=True)
    parser.add_argument("--runbook", type=pathlib.Path, required=True)
    parser.add_argument("--promtool", required=True)
    parser.add_argument("--exposed", action="append", required=True)
    arguments = parser.parse_args()

    seen, faults, queries = exposed(arguments.exposed), [], []
    alerts = yaml.safe_load((arguments.files / "alerts.yml").read_text())
    rules = {}
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        name = rule["alert"]
        if name in rules:
            faults.append(f"{name}: there are two of it")
        rules[name] = rule
        if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
            faults.append(f"{name}: its severity is neither page nor ticket")
        if not rule.get("annotations", {}).get("summary"):
            faults.append(f"{name}: it has no summary")
        faults.extend(query_faults(name, rule["expr"], seen))

    boards = {}
    for path in sorted((arguments.files / "dashboards").glob("*.json")):
        uid, asked, wrong = dashboard_queries(path)
        if uid in boards:
            faults.append(f"{path.name}: {boards[uid]} has its uid")
        boards[uid] = path.name
        faults.extend(wrong)
        queries.extend(asked)
    for where, expression in queries:
        faults.extend(query_faults(where, expression, seen))

    tests = arguments.files / "alerts_test.yml"
    faults.extend(test_faults(rules, yaml.safe_load(tests.read_text())))
    faults.extend(runbook_faults(rules, arguments.runbook.read_text()))
    # promtool takes its time.
    if not faults:
        faults.extend(syntax_faults(arguments.promtool, queries))
        faults.extend(promtool(arguments.promtool, "check", "rules", str(arguments.files / "alerts.yml")))
        faults.extend(promtool(arguments.promtool, "test", "rules", str(tests)))
    print("\n".join(faults) or f"{len(rules)} alerts, {len(boards)} dashboards, {len(queries)} queries of theirs: all hold")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
