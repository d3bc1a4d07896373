"""Runs the engine against others on this machine and writes one page of what came out.

    cargo build --release
    python3 benches/rivals/compare.py --python PATH --out rivals.html

PATH is a Python with `torch`, and for inference also `onnx`, `onnxruntime` and `openvino`. The engines take turns
(`znn bench`, docs/benchmarks.md); this file only calls them and draws. The figures are in rivals.json beside the page.
"""
import argparse
import html
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
COLOURS = {"znn": "#0072b2", "torch": "#d55e00", "onnxruntime": "#009e73", "openvino": "#cc79a7"}
LAYERS = "40->40 k3 32,40->40 k5 32,80->80 k3 24,40->40 k7 32,64->64 k3 64"
NETS = "unet3d,membranes,paper 3d"


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
        key, _, value = line.partition(" ")
        facts[key] = value.strip()
    peak = subprocess.run([program, "bench", "peak"], check=True, capture_output=True, text=True).stdout
    facts["measured peak"] = peak.strip()
    return facts


def versions(python):
    """The versions of the other engines."""
    script = ("import importlib.metadata as m, json; names = 'torch', 'onnxruntime', 'openvino'\n"
              "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
              "print(json.dumps({n: found[n] for n in names if n in found}))")
    return json.loads(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)


def layer_rows(figures):
    """A row for each layer and pass: title, milliseconds of each engine, remarks."""
    for f in figures:
        times = {"znn": f["ms"]}
        if f["rival_ms"]:
            times["torch"] = f["rival_ms"]
        remark = f"{f['algorithm']}, {f['gflops']:.0f} GFLOP/s of direct arithmetic, {100 * f['peak_fraction']:.0f} % of peak"
        yield f"{f['case']}, {f['pass']}", times, remark


def net_rows(figures):
    """A row for each network: of several formats of an engine the fastest."""
    for f in figures:
        times = {"znn": f["ms"]}
        for engine, _, ms in f["all"]:
            times[engine] = min(ms, times.get(engine, ms))
        memory = [f"{f['rss_mb']:.0f} MB"] if f["rss_mb"] else []
        if f["rival_rss_mb"]:
            memory.append(f"fastest other {f['rival_rss_mb']:.0f} MB")
        yield f"{f['net']}, {f['mode']}", times, ", ".join(memory)


def bars(rows):
    """The rows as one SVG: times relative to the engine's own, which is 1."""
    height, left, width = 16, 260, 620
    parts, y = [], 0
    for title, times, remark in rows:
        ratios = {engine: ms / times["znn"] for engine, ms in times.items()}
        scale = width * 0.72 / max(ratios.values())
        parts.append(f'<text x="0" y="{y + 12}" class="title">{html.escape(title)}</text>')
        parts.append(f'<text x="0" y="{y + 28}" class="remark">{html.escape(remark)}</text>')
        for engine, ratio in ratios.items():
            label = f"{times[engine]:.3g} ms" + ("" if engine == "znn" else f"  {NAMES[engine]} {ratio:.2f}x")
            parts.append(f'<rect x="{left + 170}" y="{y}" width="{ratio * scale:.1f}" height="{height - 3}" '
                         f'fill="{COLOURS[engine]}"/>')
            parts.append(f'<text x="{left + 174 + ratio * scale:.1f}" y="{y + 11}">{html.escape(label)}</text>')
            y += height
        y = y + 14 if len(ratios) > 1 else y + 30
    return f'<svg width="{left + width + 330}" height="{y}" font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'


def page(result):
    """One file without anything from elsewhere."""
    facts = "".join(f"<tr><th>{html.escape(k)}</th><td><pre>{html.escape(str(v))}</pre></td></tr>"
                    for k, v in result["machine"].items())
    others = ", ".join(f"{NAMES[n]} {v}" for n, v in result["versions"].items())
    legend = " ".join(f'<span style="color:{c}">&#9632; {html.escape(NAMES.get(n, n))}</span>'
                      for n, c in COLOURS.items())
    sections = []
    for title, rows in (("Layers", layer_rows(result["layers"])), ("Networks", net_rows(result["networks"]))):
        rows = list(rows)
        if rows:
            sections.append(f"<h2>{title}</h2>{bars(rows)}")
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>znn and others on this machine</title>
<style>body{{font-family:sans-serif;max-width:1250px;margin:2em auto;padding:0 1em}} th{{text-align:left;vertical-align:top;
padding-right:1em}} pre{{margin:0}} .title{{font-weight:bold}} .remark{{fill:#666;font-size:11px}}</style>
<h1>znn and others on this machine</h1>
<p>Milliseconds, less is better; bars are times over that of znn. All engines have {result["threads"]} threads, compute the
same in single precision, and take turns; a time is the median of the turns. Of PyTorch's memory formats the faster one
counts. Repeat it with <code>{html.escape(result["command"])}</code></p>
<p>{legend}</p>{"".join(sections)}<h2>Machine</h2><table>{facts}<tr><th>others</th><td>{html.escape(others)}</td></tr></table></html>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znn", default=str(ROOT / "target/release/znn"), help="the program [%(default)s]")
    parser.add_argument("--python", default=sys.executable, help="the Python with the other engines [%(default)s]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[%(default)s]")
    parser.add_argument("--layers", default=LAYERS, help="of benches/transform.toml; empty for none [%(default)s]")
    parser.add_argument("--nets", default=NETS, help="of benches/net.toml; empty for none [%(default)s]")
    parser.add_argument("--modes", default="training,inference", help="[%(default)s]")
    parser.add_argument("--out", default="rivals.html", type=pathlib.Path, help="[%(default)s]")
    args = parser.parse_args()
    found = versions(args.python)
    if "torch" not in found:
        parser.error(f"{args.python} has no PyTorch: pip install torch, and name its Python with --python")
    threads, rival = str(args.threads), ["--python", args.python]
    result = {"command": "python3 benches/rivals/compare.py", "threads": args.threads, "versions": found,
              "machine": machine(args.znn), "layers": [], "networks": []}
    if args.layers:
        result["layers"] = bench(args.znn, [
            "conv", "--cases", str(ROOT / "benches/transform.toml"), "--only", args.layers, "--algorithm", "auto",
            "--threads", threads, "--passes", "forward,step,inference", "--vs", "torch", *rival])
    if args.nets:
        result["networks"] = bench(args.znn, [
            "net", "--cases", str(ROOT / "benches/net.toml"), "--only", args.nets, "--mode", args.modes,
            "--threads", threads, "--vs", ",".join(found), *rival])
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1))
    args.out.write_text(page(result))
    print(args.out)


if __name__ == "__main__":
    main()
