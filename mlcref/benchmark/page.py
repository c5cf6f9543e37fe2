"""Results as one HTML page that needs nothing else: plots, geometric means, every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mlcref.benchmark import plots
from mlcref.benchmark.report import HEADS, cells, geometric_means, bytes_words, peak_words, reference, threads_words
from mlcref.benchmark.results import Results

Row = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ink: #222; --paper: #fff; --soft: #777 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --soft: #999 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1200px;
       margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
td, th { padding: 2px 8px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
td.remark { white-space: normal; color: var(--soft) }
tr.first td { border-top: 2px solid var(--line) }
tr.wrong td { color: #d6002a }
.wide { overflow-x: auto }
svg { width: 100%; max-width: 900px; font-size: 11px }
svg text { fill: currentColor }
svg .grid { stroke: var(--line) }
svg .roof { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 5 3 }
.legend span { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 4px 0 14px }
"""


def page(results: Results) -> str:
    """The page as text.

    >>> text = page(Results({"systems": ["numpy"], "suite": "tiny", "machine": {}, "versions": {}}))
    >>> text.startswith("<!doctype html>"), "http" in text
    (True, False)
    """
    header, rows = results.header, list(results.rows())
    systems = header["systems"]
    parts = [_facts(results), _legend(systems)]
    for threads in sorted({row["threads"] for row in rows}):
        mine = [row for row in rows if row["threads"] == threads]
        parts.append(_section(mine, results.peaks.get(threads, {}), threads, systems))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>mlcref bench</title>'
        f"<style>{_STYLE}</style></head><body><h1>mlcref bench, suite {escape(header['suite'])}</h1>\n"
        f"{''.join(parts)}</body></html>\n"
    )


def _facts(results: Results) -> str:
    header = results.header
    facts = {**header["machine"], **header["versions"]}
    listed = (f"{name.replace('_', ' ')} {_said(name, value)}" for name, value in facts.items())
    state = "" if results.complete else "<p><strong>This run is not finished.</strong></p>"
    return f"<p>{escape('; '.join(listed))}.</p>{state}"


def _said(name: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return bytes_words(value) if name.endswith("_bytes") and value is not None else str(value)


def _legend(systems: Sequence[str]) -> str:
    marks = (
        f'<span style="background:{colour}"></span>{escape(name)}' for name, colour in plots.colours(systems).items()
    )
    return f'<p class="legend">{"".join(marks)}</p>'


def _section(rows: Sequence[Row], peaks: Mapping[str, float], threads: int, systems: Sequence[str]) -> str:
    to = reference(rows)
    means = geometric_means(rows, to)
    said = [f"{escape(name)} {mean:.2f} ({number} workloads)" for name, (mean, number) in means.items()]
    return (
        f"<h2>{threads_words(threads)}</h2><p>Measured peaks: {escape(', '.join(peak_words(peaks)) or 'none')}.</p>"
        f"<p>Geometric means of the speed relative to {to}: {', '.join(said) or 'none'}.</p>"
        f"{plots.roofline(rows, peaks, systems)}{plots.ratios(rows, to, systems)}{_table(rows)}"
    )


def _table(rows: Sequence[Row]) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in ("workload", "tensors", "system", *HEADS))
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(_lines(rows))}</table></div>\n'


def _lines(rows: Iterable[Row]) -> Iterable[str]:
    before = None
    for row in rows:
        first, before = row["workload"] != before, row["workload"]
        kinds = " ".join(kind for kind, holds in (("first", first), ("wrong", row["status"] == "wrong")) if holds)
        *numbers, remark = cells(row)
        tensors = bytes_words(row["tensor_bytes"])
        yield (
            f'<tr class="{kinds}"><td>{escape(row["workload"]) if first else ""}</td>'
            f'<td class="number">{tensors if first else ""}</td><td>{escape(row["system"])}</td>'
            + "".join(f'<td class="number">{escape(cell)}</td>' for cell in numbers)
            + f'<td class="remark">{escape(remark)}</td></tr>\n'
        )
