#!/usr/bin/env python3
"""The dependency law of ARCHITECTURE.md, asked of cargo itself.

A crate's house is its directory. Development dependencies are free; what ships is not.
"""

import json
import os
import subprocess
import sys

metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--all-features"]))
root = metadata["workspace_root"]
members = set(metadata["workspace_members"])
house = {
    package["id"]: os.path.relpath(os.path.dirname(package["manifest_path"]), root)
    for package in metadata["packages"]
    if package["id"] in members
}
edges = {
    node["id"]: {
        dep["pkg"]
        for dep in node["deps"]
        if dep["pkg"] in members and any(kind["kind"] != "dev" for kind in dep["dep_kinds"])
    }
    for node in metadata["resolve"]["nodes"]
    if node["id"] in members
}


def reaches(start):
    """Houses that `start` depends on, by whatever way."""
    seen, todo = set(), [start]
    while todo:
        for dep in edges[todo.pop()]:
            if dep not in seen:
                seen.add(dep)
                todo.append(dep)
    return {house[id] for id in seen}


def under(houses, *districts):
    return sorted(h for h in houses if any(h == d or h.startswith(d + "/") for d in districts))


broken = []
for id, own in sorted(house.items(), key=lambda item: item[1]):
    below = reaches(id)

    def forbid(what, why):
        if what:
            broken.append(f"{own} depends on {', '.join(what)}: {why}")

    if own in ("gateway/model", "gateway/wire"):
        forbid(sorted(below), "the words both planes share depend on nothing of ours")
    if own.startswith("gateway/"):
        forbid(under(below, "control", "dataplane", "ffi"), "what both planes agree on knows neither")
    if own.startswith("control/"):
        forbid(under(below, "ffi", "dataplane"), "control never links DPDK nor the data plane")
    if own == "dataplane/engine":
        forbid(under(below, "ffi", "control"), "the engine is pure")
    if own in ("dataplane/daemon", "dataplane/cipher"):
        forbid(under(below, "control"), "the data plane knows keys of SAs and no identities")
    if own.startswith("ffi/"):
        forbid(under(below, "control", "dataplane", "gateway"), "foreign code is below everything")
    if own not in ("dataplane/cipher", "dataplane/daemon", "bench") and not own.startswith("bench/"):
        if "dataplane/engine" in below and under(below, "ffi"):
            broken.append(f"{own} sees the engine and ffi together: only dataplane/cipher and its users may")

if not house:
    broken.append("cargo metadata names no member")
for line in broken:
    print(f"dependency law: {line}", file=sys.stderr)
sys.exit(1 if broken else 0)
