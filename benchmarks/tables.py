"""Results as Markdown tables. Pure: no process is started here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import campaigns, coverage, decide, evaluation, scale_tables, scoring
from benchmarks.machine import sentence
from benchmarks.markdown import markdown, number, verdict
from benchmarks.settings import (
    COLD_SECONDS,
    FIT_TARGETS,
    KERNEL_NS,
    N_FEATURES,
    TRANSFORM_RATIO,
    memory_limit_mb,
)

BEGIN = "<!-- benchmarks:begin (written by python -m benchmarks) -->"
END = "<!-- benchmarks:end -->"

LABELS = {
    "ours": "**spark_uplift**",
    "ours-honest": "**spark_uplift**, honest",
    "ydf": "YDF, all features",
    "ydf-sqrt": "YDF, its default √-subset",
    "h2o": "H2O UpliftDRF",
    "lightgbm": "LightGBM T-learner",
    "causalml": "CausalML",
    "econml": "EconML causal forest",
}


def fit_table(group: dict[str, Any]) -> str:
    """Return the table of one group of fits: the same rows and trees for everybody."""
    ours = next((r for r in group["results"] if r["contender"] == "ours" and "error" not in r), None)
    base = median(ours["seconds"]) if ours else None
    rows, errors = [], []
    for r in group["results"]:
        label = LABELS.get(r["contender"], r["contender"])
        if "error" in r:
            errors.append(f"{label} failed: {r['error']}")
            continue
        seconds = median(r["seconds"])
        ratio = seconds / base if base and r["contender"] != "ours" else None
        aim = FIT_TARGETS.get((r["contender"], group["trees"])) if group["aims"] else None
        rows.append([
            label,
            number(seconds),
            "1" if r["contender"] == "ours" else number(ratio),
            f"≥ {aim:g}: {verdict(ratio >= aim)}" if aim and ratio else "",
            number(r["peak_mb"].get("fit")),
            number(r["worker_mb"].get("fit")) if r["contender"].startswith("ours") else "",
            number(r.get("leaves")),
            f"{r['pearson']:.3f}",
            f"{r['spearman']:.3f}",
        ])  # fmt: skip
    header = [
        "",
        "seconds",
        "times ours",
        "aim",
        "peak MB",
        "a worker, MB",
        "leaves a tree",
        "Pearson",
        "Spearman",
    ]
    table = markdown(header, rows)
    return "\n\n".join([table, *fit_remarks(group), *errors])


def fit_remarks(group: dict[str, Any]) -> list[str]:
    """Return what a table of fits should say besides: the first run, quality beside the best peer's."""
    good = [r for r in group["results"] if "error" not in r]
    ours = next((r for r in good if r["contender"] == "ours"), None)
    remarks = []
    if ours:
        runs = ", ".join(f"{s:.2f}" for s in ours["seconds"])
        firsts = ", ".join(f"{s:.2f}" for s in ours["first_seconds"])
        remarks.append(
            f"Ours warm: {runs} s; with new Python workers, right after the session's start: {firsts} s."
        )
    peers = [r for r in good if not r["contender"].startswith("ours")]
    if ours and peers:
        parts = []
        for name in ("pearson", "spearman"):
            best = max(peers, key=lambda r: r[name])
            parts.append(
                f"{name.capitalize()} {ours[name]:.3f} beside the best peer's {best[name]:.3f} "
                f"({LABELS.get(best['contender'], best['contender'])}): {verdict(ours[name] >= best[name])}"
            )
        remarks.append(
            "Correlation with the true effect not below the best peer's: " + "; ".join(parts) + "."
        )
    return remarks


def fit_section(groups: list[dict[str, Any]]) -> str:
    """Return the section of fits."""
    parts = ["## Fit, from a Parquet table to a model"]
    settings: dict[str, str] = {}
    for group in groups:
        shape = f"{group['rows']:,} rows × {N_FEATURES} features"
        parts.append(f"### {shape}, {group['trees']} trees (LightGBM: rounds an arm), depth {group['depth']}")
        parts.append(fit_table(group))
        for r in group["results"]:
            if "error" not in r:
                text = r["settings"]
                settings[f"{LABELS.get(r['contender'], r['contender'])} ({r['version']})"] = text
    parts.append("\n".join(f"- {label}: {text}." for label, text in settings.items()))
    return "\n\n".join(parts)


def kernel_section(r: dict[str, Any]) -> str:
    """Return the section of the kernels alone."""
    aim = f"≤ {KERNEL_NS:g}: {verdict(min(r['grow_ns']) <= KERNEL_NS)}"
    measured = (
        ("growing: CPU ns per row, tree and level", r["grow_ns"], aim),
        (f"predicting: CPU µs a row, {r['predict_trees']} trees", r["predict_us"], ""),
        ("binning: CPU µs a row", r["encode_us"], ""),
    )
    rows = [[label, number(min(values)), number(median(values)), text] for label, values, text in measured]
    shape = (
        f"{r['rows']:,} rows × {N_FEATURES} features, {r['trees']} trees, depth {r['depth']}, "
        f"{r['leaves']:.0f} leaves a tree, one thread"
    )
    return "\n\n".join(["## Kernels", f"{shape}.", markdown(["", "best", "median", "aim"], rows)])


def transform_section(r: dict[str, Any]) -> str:
    """Return the section of scoring."""
    ours, peer = r["ours"], r.get("ydf")
    rows = []
    if "error" in ours:
        return f"## transform\n\nspark_uplift failed: {ours['error']}"
    a_row = median(ours["seconds"]) / ours["rows"] * 1e6
    delta = median(ours["delta_seconds"]) / ours["rows"] * 1e6
    rows.append(
        [
            "**spark_uplift**, Parquet to noop",
            f"{ours['rows']:,}",
            number(a_row),
            "1",
            "",
            number(ours["leaves"]),
        ]
    )
    rows.append(
        [
            "**spark_uplift**, Parquet to a Delta table",
            f"{ours['rows']:,}",
            number(delta),
            number(delta / a_row),
            "",
            number(ours["leaves"]),
        ]
    )
    scan = ours["scan_seconds"] / ours["rows"] * 1e6
    rows.append(
        ["reading the table alone, to noop", f"{ours['rows']:,}", number(scan), number(scan / a_row), "", ""]
    )
    errors = []
    if peer and "error" in peer:
        errors.append(f"YDF failed: {peer['error']}")
    elif peer:
        theirs = median(peer["seconds"]) / peer["rows"] * 1e6
        ratio = theirs / a_row
        aim = f"≥ {TRANSFORM_RATIO:g}: {verdict(ratio >= TRANSFORM_RATIO)}"
        rows.append(
            [
                "YDF predict, the same trees, in memory",
                f"{peer['rows']:,}",
                number(theirs),
                number(ratio),
                aim,
                number(peer["leaves"]),
            ]
        )
    text = (
        f"{r['trees']} trees of depth {r['depth']}, fitted on {r['train_rows']:,} rows, "
        f"{r['threads']} threads each. The Delta table takes id, uplift and recommended."
    )
    header = ["", "rows", "µs a row", "times ours", "aim", "leaves a tree"]
    return "\n\n".join(["## transform", text, markdown(header, rows), *errors])


def memory_section(results: list[dict[str, Any]]) -> str:
    """Return the section of the training workers' memory."""
    rows, errors = [], []
    for r in results:
        if "error" in r:
            errors.append(f"spark_uplift failed: {r['error']}")
            continue
        worker, limit = max(r["worker_mb"].values(), default=0.0), memory_limit_mb(r["rows"])
        rows.append([
            f"{r['rows']:,}", number(r["rows"] * N_FEATURES / 1e6), number(worker), number(limit),
            verdict(worker <= limit),
            number(max(r["peak_mb"].values(), default=0.0)),
        ])  # fmt: skip
    header = ["rows", "binned MB", "largest worker, MB", "3 × binned + 300", "aim", "JVM and all workers, MB"]
    return "\n\n".join(["## Memory of a training worker", markdown(header, rows), *errors])


def cold_section(r: dict[str, Any]) -> str:
    """Return the section of a fresh process' first call."""
    rows = []
    for label, key in (("kernels from the cache", "cached"), ("nothing cached: compiled", "compiled")):
        for x in r.get(key, []):
            if "error" in x:
                rows.append([f"{label}: failed, {x['error']}", "", "", "", "", "", ""])
                continue
            calls = x["encode_seconds"] + x["grow_seconds"] + x["predict_seconds"]
            aim = f"≤ {COLD_SECONDS:g}: {verdict(calls <= COLD_SECONDS)}" if key == "cached" else ""
            cells = [x["encode_seconds"], x["grow_seconds"], x["predict_seconds"], calls]
            imports = x["import_numba_seconds"] + x["import_ours_seconds"]
            rows.append([label, *(f"{c:.2f}" for c in cells), aim, f"{imports:.2f}"])
    header = [
        "a fresh process' first calls, seconds",
        "binning",
        "growing",
        "predicting",
        "together",
        "aim",
        "imports before",
    ]
    return "\n\n".join(["## Cold start", markdown(header, rows)])


def breakdown_section(r: dict[str, Any]) -> str:
    """Return the section of a fit's parts."""
    rows = [[name, number(seconds)] for name, seconds in r["parts"].items()]
    text = (
        f"{r['rows']:,} rows, {r['trees']} trees; every part run alone, warm; they overlap and do not add up."
    )
    return "\n\n".join(["## Where a fit's time goes", text, markdown(["", "seconds"], rows)])


_SECTIONS: dict[str, Callable[[Any], str]] = {
    "fit": fit_section,
    "kernel": kernel_section,
    "transform": transform_section,
    "memory": memory_section,
    "cold": cold_section,
    "breakdown": breakdown_section,
    **scale_tables.SECTIONS,
    "scoring": scoring.table,
    "campaigns": campaigns.table,
    "coverage": coverage.table,
    "decide": decide.table,
    "evaluation": evaluation.table,
}


def report(results: dict[str, Any]) -> str:
    """Return all sections that have results, each with the machine that it ran on."""
    parts = []
    for name, show in _SECTIONS.items():
        if name not in results:
            continue
        entry = results[name]
        found = entry["results"]
        failed = isinstance(found, dict) and "error" in found
        body = f"## {name}\n\nfailed: {found['error']}" if failed else show(found)
        parts.append(f"{body}\n\n*Measured on {sentence(entry['machine'])}.*")
    return "\n\n".join(parts)


def write_between_markers(path: str | Path, text: str) -> None:
    """Replace what stands between the markers of a document.

    Raises
    ------
    ValueError
        When the document lacks the markers.
    """
    document = Path(path).read_text()
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} must hold the lines '{BEGIN}' and '{END}'.")
    Path(path).write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
