"""Results as one HTML page that needs nothing else: plots, geometric means, every row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from mlcref.benchmark import plots
from mlcref.benchmark.report import HEADS, cells, geometric_means, bytes_words, peak_words, reference, threads_words
from mlcref.benchmark.results import Results

Row = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --ink: #222; --paper: #fff; --soft: #666; --bad: #c00020 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --soft: #aaa; --bad: #ff6b7d } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1280px;
       margin: 2em auto; padding: 0 1em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1em; font-size: 13px }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
h3 { margin: 1.5em 0 0; font-size: 15px }
.note { color: var(--soft); font-size: 13px; margin: 0 0 0.5em }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
td, th { padding: 2px 7px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap;
         vertical-align: top }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums }
td.workload { white-space: normal; min-width: 13em }
td.remark { white-space: normal; color: var(--soft) }
tr.first td { border-top: 2px solid var(--line) }
tr.own td:not(.workload, [rowspan]) { font-weight: 600 }
tr.wrong td { color: var(--bad) }
.wide { overflow-x: auto }
svg { display: block; width: 100%; min-width: 960px; max-width: 1200px; font-size: 11px }
svg text { fill: var(--ink); stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; paint-order: stroke }
svg circle { stroke: var(--paper); stroke-width: 0.7 }
svg .grid { stroke: var(--line) }
svg .row { stroke: var(--line); stroke-dasharray: 1 3 }
svg .roof { stroke: currentColor; stroke-width: 1.2; stroke-dasharray: 5 3 }
.legend { margin: 0.5em 0 }
.legend span { white-space: nowrap; margin-right: 14px }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 4px }
"""

_NUMBER = ' class="number"'
_OWN = "mlcref"
"""The system whose rows stand out."""


def page(results: Results) -> str:
    """The page as text.

    >>> text = page(Results({"systems": ["numpy"], "suite": "tiny", "machine": {}, "versions": {}}))
    >>> text.startswith("<!doctype html>"), "http" in text
    (True, False)
    """
    header, rows = results.header, list(results.rows())
    systems = header["systems"]
    parts = [_facts(results)]
    for threads in sorted({row["threads"] for row in rows}):
        mine = [row for row in rows if row["threads"] == threads]
        parts.append(_section(mine, results.peaks.get(threads, {}), threads, systems))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>mlcref bench</title>'
        f"<style>{_STYLE}</style></head><body><h1>mlcref bench, suite {escape(header['suite'])}</h1>\n"
        f"{''.join(parts)}</body></html>\n"
    )


_FACT_WORDS = {"memory_bytes": "memory"}


def _facts(results: Results) -> str:
    header = results.header
    facts = {**header["machine"], **header["versions"]}
    listed = "".join(
        f"<dt>{escape(_FACT_WORDS.get(name, name.replace('_', ' ')))}</dt><dd>{escape(_said(name, value))}</dd>"
        for name, value in facts.items()
    )
    state = "" if results.complete else "<p><strong>This run is not finished.</strong></p>"
    return f"{state}<dl>{listed}</dl>"


def _said(name: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return bytes_words(value) if name.endswith("_bytes") and value is not None else str(value)


def _legend(systems: Sequence[str]) -> str:
    marks = (
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in plots.colours(systems).items()
    )
    return f'<p class="legend">{" ".join(marks)}</p>'


def _section(rows: Sequence[Row], peaks: Mapping[str, float], threads: int, systems: Sequence[str]) -> str:
    to = reference(rows)
    means = geometric_means(rows, to)
    said = [f"{escape(name)} {mean:.2f} ({number} workloads)" for name, (mean, number) in means.items()]
    return (
        f"<h2>{threads_words(threads)}</h2><p>Measured peaks: {escape(', '.join(peak_words(peaks)) or 'none')}.</p>"
        f"<p>Geometric means of the speed relative to {to}: {', '.join(said) or 'none'}.</p>"
        + _figure("Roofline", _ROOFLINE, systems, plots.roofline(rows, peaks, systems))
        + _figure(f"Times as fast as {to}", _RATIOS, systems, plots.ratios(rows, to, systems))
        + _table(rows)
    )


_ROOFLINE = (
    "A dot for each workload and system; dashed are the measured peaks of this machine. "
    "Instructions for 8 and 16 bits may exceed the roof of float32."
)
_RATIOS = "Medians over the rounds of the ratio within a round; right is faster. A dot pointed at tells its figures."


def _figure(title: str, note: str, systems: Sequence[str], svg: str) -> str:
    if not svg:
        return ""
    return f'<h3>{title}</h3><p class="note">{note}</p>{_legend(systems)}<div class="wide">{svg}</div>\n'


def _table(rows: Sequence[Row]) -> str:
    names = ("workload", "tensors", "system", *HEADS)
    kinds = ("" if name in ("workload", "system", "") else _NUMBER for name in names)
    heads = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, names, strict=True))
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(_lines(rows))}</table></div>\n'


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    for name, group in groupby(rows, lambda row: str(row["workload"])):
        together = list(group)
        span = f' rowspan="{len(together)}"'
        words = escape(name).replace(",", ",<wbr>").replace("/", "/<wbr>")
        tensors = bytes_words(together[0]["tensor_bytes"])
        named = f'<td class="workload"{span}>{words}</td><td{_NUMBER}{span}>{tensors}</td>'
        for place, row in enumerate(together):
            yield _line(row, "first" if place == 0 else "", named if place == 0 else "")


def _line(row: Row, kind: str, named: str) -> str:
    is_kind = {kind: kind, "own": row["system"] == _OWN, "wrong": row["status"] == "wrong"}
    kinds = " ".join(kind for kind, holds in is_kind.items() if holds)
    *numbers, remark = cells(row)
    if "median" in row:
        figures = "".join(f"<td{_NUMBER}>{escape(cell)}</td>" for cell in numbers)
        said = f'{figures}<td class="remark">{escape(remark)}</td>'
    else:
        said = f'<td class="remark" colspan="{len(HEADS)}">{escape(remark)}</td>'
    return f'<tr class="{kinds}">{named}<td>{escape(row["system"])}</td>{said}</tr>\n'
