"""Runs the engine against others on this machine and writes one page of what came out.

    python3 benches/rivals/compare.py --python PATH --out rivals.html

PATH is a Python with `torch`, and for single layers and inference also `onnx`, `onnxruntime` and `openvino`; burn and candle
come with the program in benches/rivals/rust, which is built here as the engine is. The engines take turns (`znn bench`,
docs/benchmarks.md); this file only calls them and draws. The figures are in rivals.json beside the page.
"""
import argparse
import dataclasses
import html
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUST = ROOT / "benches/rivals/rust"
NAMES = {"znn": "znn", "torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "burn": "burn",
         "candle": "candle"}
COLOURS = {"znn": "#0072b2", "torch": "#d55e00", "onnxruntime": "#009e73", "openvino": "#cc79a7", "burn": "#e69f00",
           "candle": "#56b4e9"}
LAYERS = "40->40 k3 32,40->40 k5 32,40->40 k7 32,80->80 k3 24,64->64 k3 64,2D 40->40 k11"
NETS = "unet3d,membranes,paper 3d width 20,paper 3d width 40"
# What the one picture beside the page shows.
PICTURE = ["unet3d", "membranes3d", "paper 3d width 20", "40->40 k3 32, step", "40->40 k5 32, step"]


@dataclasses.dataclass
class Row:
    """What was measured of a layer or a network."""

    title: str
    milliseconds: dict  # by engine, of several formats the fastest
    remark: str
    columns: dict  # what else the table shows


def bench(program, arguments):
    """The figures of a command of `znn bench`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "figures.json")
        command = [program, "bench", *arguments, "--json", str(path)]
        print("+", " ".join(command), file=sys.stderr)
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(path.read_text())


def machine(program):
    """What a reader has to know of the machine."""
    facts = {"date": time.strftime("%Y-%m-%d"), "system": platform.platform()}
    for line in subprocess.run([program, "info"], check=True, capture_output=True, text=True).stdout.splitlines():
        key, _, value = re.sub(" +", " ", line).partition(" ")
        if key == "instruction":
            key, value = "instruction sets", value.removeprefix("sets ")
        facts[key] = value
    peak = subprocess.run([program, "bench", "peak"], check=True, capture_output=True, text=True).stdout
    facts["measured peak"] = peak.strip()
    return facts


def versions(python):
    """The versions of the engines that Python has."""
    script = ("import importlib.metadata as m, json; names = 'torch', 'onnxruntime', 'openvino'\n"
              "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
              "print(json.dumps({n: found[n] for n in names if n in found}))")
    return json.loads(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)


def of_rust():
    """The versions of the engines in Rust."""
    lock = (RUST / "Cargo.lock").read_text()
    found = {name: re.search(rf'name = "{crate}"\nversion = "([^"]*)"', lock) for name, crate in
             (("burn", "burn-flex"), ("candle", "candle-core"))}
    return {name: match[1] for name, match in found.items() if match}


def fastest(figure):
    """The milliseconds of each engine, of several formats the fastest."""
    times = {"znn": figure["ms"]}
    for engine, _, ms in figure["all"]:
        times[engine] = min(ms, times.get(engine, ms))
    return times


def layer_rows(figures):
    for f in figures:
        # Layers are named after their voxels, less their dilation of one.
        remark = f"{f['algorithm']}, {f['gflops']:.0f} GFLOP/s"
        columns = {"GFLOP/s": f"{f['gflops']:.0f}", "of peak": f"{100 * f['peak_fraction']:.0f} %", "MB": ""}
        yield Row(f"{f['case']}, {f['pass']}", fastest(f), remark, columns)


def net_rows(figures):
    for f in figures:
        megabytes = [f"{mb:.0f}" for mb in (f["rss_mb"], f["rival_rss_mb"]) if mb]
        remark = " MB, fastest other ".join(megabytes) + (" MB" if megabytes else "")
        columns = {"GFLOP/s": f"{f['gflops']:.0f}", "of peak": f"{100 * f['peak_fraction']:.0f} %", "MB": " / ".join(megabytes)}
        yield Row(f"{f['net']}, {f['mode']}", fastest(f), remark, columns)


def show(ms):
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def bars(rows, head=()):
    """The rows as one SVG below some lines of text: bars are times over the engine's own, which is 1."""
    height, left, width = 16, 250, 480
    parts, y = [], 0
    for line in head:
        parts.append(f'<text x="0" y="{y + 12}">{line}</text>')
        y += 20
    for row in rows:
        ratios = {engine: ms / row.milliseconds["znn"] for engine, ms in row.milliseconds.items()}
        scale = width / max(ratios.values())
        parts.append(f'<text x="0" y="{y + 12}" font-weight="bold">{html.escape(row.title)}</text>')
        parts.append(f'<text x="0" y="{y + 27}" fill="#777" font-size="11">{html.escape(row.remark)}</text>')
        for engine, ratio in sorted(ratios.items(), key=lambda item: (item[0] != "znn", item[1])):
            label = f"{show(row.milliseconds[engine])} ms" + ("" if engine == "znn" else f", {NAMES[engine]} {ratio:.2g}x")
            parts.append(f'<rect x="{left}" y="{y}" width="{ratio * scale:.1f}" height="{height - 3}" fill="{COLOURS[engine]}"/>')
            parts.append(f'<text x="{left + 4 + ratio * scale:.1f}" y="{y + 11}">{html.escape(label)}</text>')
            y += height
        y += 14 if len(ratios) > 1 else 22
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 220}" height="{y}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>')


def table(rows):
    """The rows as an HTML table: times, and ratios of the others to the engine."""
    engines = [engine for engine in NAMES if any(engine in row.milliseconds for row in rows)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *rows[0].columns, *(NAMES[e] + " ms" for e in engines)])

    def cell(row, engine):
        if engine not in row.milliseconds:
            return "<td>cannot</td>"
        ms, own = row.milliseconds[engine], row.milliseconds["znn"]
        return f"<td>{show(ms)}" + ("" if engine == "znn" else f" <b>{ms / own:.2f}x</b>") + "</td>"

    lines = ("<tr><td>" + html.escape(row.title) + "</td>" + "".join(f"<td>{html.escape(c)}</td>" for c in row.columns.values())
             + "".join(cell(row, engine) for engine in engines) + "</tr>" for row in rows)
    return f'<table class="figures"><tr>{head}</tr>{"".join(lines)}</table>'


def legend(engines, cell):
    return " &#160; ".join(cell.format(colour=COLOURS[engine], name=NAMES[engine]) for engine in engines)


def page(result, sections):
    """One file without anything from elsewhere."""
    facts = "".join(f"<tr><th>{html.escape(k)}</th><td><pre>{html.escape(str(v))}</pre></td></tr>"
                    for k, v in result["machine"].items())
    others = ", ".join(f"{NAMES[n]} {v}" for n, v in result["versions"].items())
    parts = "".join(f"<h2>{title}</h2>{bars(rows)}{table(rows)}" for title, rows in sections.items() if rows)
    colours = legend(["znn", *result["versions"]], '<span style="color:{colour}">&#9632; {name}</span>')
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>znn and others on this machine</title>
<style>body{{font-family:sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}} th{{text-align:left;vertical-align:top;
padding-right:1em}} pre{{margin:0}} .figures{{border-collapse:collapse;margin-top:1em;font-size:13px}} .figures td,.figures th{{
border-bottom:1px solid #ddd;padding:2px 12px 2px 0}}</style>
<h1>znn and others on this machine</h1>
<p>Milliseconds, less is better; bars are times over that of znn. All engines have {result["threads"]} threads, compute the
same in single precision, and take turns; a time is the median of the turns. Of PyTorch's memory formats the faster one
counts. GFLOP/s count the operations of direct convolution, whatever the algorithm, so that they can exceed the machine's peak; MB are the peak of resident
memory, of znn and of the fastest other. Repeat it with <code>{html.escape(result["command"])}</code></p>
<p>{colours}</p>{parts}<h2>Machine</h2><table>{facts}<tr><th>others</th><td>{html.escape(others)}</td></tr></table></html>
"""


def picture(result, sections):
    """The main figures as a picture that stands alone."""
    rows = [row for title in PICTURE for rows in sections.values() for row in rows if row.title.startswith(title)]
    if not rows:
        return None
    processor = re.sub(r"\s+", " ", result["machine"].get("processor", platform.machine()))
    colours = legend([engine for engine in NAMES if any(engine in row.milliseconds for row in rows)], '<tspan fill="{colour}">&#9632;</tspan> {name}')
    return bars(rows, [colours, html.escape(f"{result['threads']} threads of {processor}; milliseconds and times over znn, less is better, each group to a scale of its own")])


def build(manifest):
    subprocess.run(["cargo", "build", "--release", "--manifest-path", str(manifest)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python with the other engines [%(default)s]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[%(default)s]")
    parser.add_argument("--layers", default=LAYERS, help="of benches/transform.toml; empty for none [%(default)s]")
    parser.add_argument("--nets", default=NETS, help="of benches/net.toml; empty for none [%(default)s]")
    parser.add_argument("--modes", default="training,inference", help="[%(default)s]")
    parser.add_argument("--out", default="rivals.html", type=pathlib.Path, help="[%(default)s]")
    parser.add_argument("--redraw", action="store_true", help="measure nothing, draw what the .json beside the page holds")
    args = parser.parse_args()
    path = args.out.with_suffix(".json")
    if args.redraw:
        result = json.loads(path.read_text())
    else:
        result = measure(parser, args)
        path.write_text(json.dumps(result, indent=1))
    sections = {"Layers": list(layer_rows(result["layers"])), "Networks": list(net_rows(result["networks"]))}
    args.out.write_text(page(result, sections))
    drawn = picture(result, sections)
    if drawn:
        args.out.with_suffix(".svg").write_text(drawn)
    print(args.out)


def measure(parser, args):
    """All that was found out, as it goes to the JSON file."""
    of_python = versions(args.python)
    if "torch" not in of_python:
        parser.error(f"{args.python} has no PyTorch: pip install torch, and name its Python with --python")
    build(ROOT / "Cargo.toml")
    build(RUST / "Cargo.toml")
    target = os.environ.get("CARGO_TARGET_DIR")
    program, rivals = (str(pathlib.Path(target or folder / "target", "release", name))
                       for folder, name in ((ROOT, "znn"), (RUST, "znn-rivals")))
    threads, python = str(args.threads), ["--python", args.python]
    result = {"command": "python3 benches/rivals/compare.py", "threads": args.threads, "versions": {**of_python, **of_rust()},
              "machine": machine(program), "layers": [], "networks": []}
    if args.layers:
        result["layers"] = bench(program, [
            "conv", "--cases", str(ROOT / "benches/transform.toml"), "--only", args.layers, "--algorithm", "auto",
            "--threads", threads, "--passes", "step,inference", "--vs", ",".join(result["versions"]), "--rivals", rivals, *python])
    if args.nets:
        result["networks"] = bench(program, [
            "net", "--cases", str(ROOT / "benches/net.toml"), "--only", args.nets, "--mode", args.modes,
            "--threads", threads, "--vs", ",".join(of_python), *python])
    return result


if __name__ == "__main__":
    main()
