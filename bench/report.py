#!/usr/bin/env python3
"""Plots of a run of `make bench`, as one HTML page that needs nothing else: report.py pipeline.json page.html"""

import html
import json
import math
import sys
import time

WIDTH, HEIGHT, LEFT, BELOW, TOP = 560, 320, 62, 44, 30
COLOURS = {"seal": "#1f5fa8", "open": "#b5541c", "floor of seal": "#8fb3d9", "floor of open": "#dfae8f"}


def ticks(low, high):
    """1, 2 and 5 of each decade."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    all_ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    return [tick for tick in all_ticks if low <= tick <= high]


def plot(title, x_name, y_name, series):
    """Both axes logarithmic. `series`: name -> [(x, y)]."""
    points = [point for line in series.values() for point in line]
    if len({x for x, _ in points}) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_low, x_high, y_low, y_high = min(xs) / 1.1, max(xs) * 1.1, min(ys) / 1.3, max(ys) * 1.3

    def across(x):
        return LEFT + (WIDTH - LEFT - 130) * math.log(x / x_low) / math.log(x_high / x_low)

    def up(y):
        return HEIGHT - BELOW - (HEIGHT - BELOW - TOP) * math.log(y / y_low) / math.log(y_high / y_low)

    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><text x="{LEFT}" y="16" class="t">{html.escape(title)}</text>']
    for y in ticks(y_low, y_high):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 130}" y1="{up(y):.1f}" y2="{up(y):.1f}" class="g"/>')
        out.append(f'<text x="{LEFT - 6}" y="{up(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in sorted(set(xs)):
        out.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BELOW + 16}" text-anchor="middle">{x:,.0f}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - 130) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_name)}</text>')
    out.append(f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">{html.escape(y_name)}</text>')
    for place, (name, line) in enumerate(series.items()):
        colour, dash = COLOURS[name], ' stroke-dasharray="5 4"' if name.startswith("floor") else ""
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in sorted(line))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        out.append(f'<text x="{WIDTH - 122}" y="{TOP + 16 + 18 * place}" fill="{colour}">{name}</text>')
    return "".join(out) + "</svg>"


def series(cases, x, hz):
    lines = {}
    for path in ("seal", "open"):
        own = [case for case in cases if case["path"] == path]
        lines[path] = [(x(case), case["gbps"]) for case in own]
        below = [(x(case), hz / case["floor"]["median"] * case["mean_size"] * 8 / 1e9) for case in own]
        lines["floor of " + path] = below
    return {name: line for name, line in lines.items() if line}


def main():
    source, target = sys.argv[1:3]
    with open(source, encoding="utf-8") as file:
        report = json.load(file)
    machine, hz = report["machine"], report["machine"]["tsc_hz"]
    known = [case for case in report["cases"] if case["flow"] == "known" and case["workers"] == 1 and case["floor"]]
    plots = []
    for cipher in dict.fromkeys(case["cipher"] for case in known):
        own = [case for case in known if case["cipher"] == cipher]
        fixed = [case for case in own if case["tunnels"] == 1 and case["policies"] <= 3 and case["size"].isdigit()]
        plots.append(plot(f"{cipher}, one tunnel", "octets of the clear frame", "Gbit/s", series(fixed, lambda c: c["mean_size"], hz)))
        for size in ("64", "imix", "1400"):
            tunnels = [case for case in own if case["size"] == size]
            plots.append(plot(f"{cipher}, size {size}", "tunnels, in random order", "Gbit/s", series(tunnels, lambda c: c["tunnels"], hz)))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(machine["unix_time"]))
    about = f"{machine['model']} ({machine['family_model_stepping']}), TSC {hz / 1e6:.0f} MHz; {machine['dpdk']}; {machine['ipsec_mb']}; {when}"
    style = "body{font:15px sans-serif;margin:2em;color:#222}svg{width:560px;max-width:100%;margin:8px}text{font:12px sans-serif}.t{font-weight:bold;font-size:14px}.g{stroke:#ddd}"
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Culvert: what one core does</title><style>{style}</style>
<h1>What one core does</h1><p>{html.escape(about)}. Medians of {report["windows"]} windows; both axes logarithmic. Dashed: the cipher alone.</p>
{"".join(plots)}</html>
"""
    with open(target, "w", encoding="utf-8") as file:
        file.write(page)
    print(f"written to {target}")


main()
