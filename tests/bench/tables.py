"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.results import Results


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """One table; figures stand on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figure(value: float | None) -> str:
    """Three digits, or a dash where there is none."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def shown(who: str) -> str:
    """A contender's name for people."""
    return who.replace("tollway", "**Tollway**", 1) if who.startswith("tollway") else who


def loads(results: Results, case: str, reference: str) -> str:
    """One case of load: rates, how they compare to ours, what they cost."""
    beside = sorted({n for w in results.contenders(case) for n in results.medians(case, w) if n in _BESIDE})
    ours = results.get(case, reference, "rate")
    rows = []
    for who in results.contenders(case):
        told = results.medians(case, who)
        rate = told.get("rate")
        rows.append(
            [
                shown(who),
                figure(rate),
                figure(ours / rate) + " x" if ours and rate and who != reference else "",
                figure(told.get("cpu_us")),
                *(figure(told.get(name)) for name in beside),
                figure(told.get("p50_us", 0) / 1000),
                figure(told.get("p99_us", 0) / 1000),
                f"{100 * told.get('busy', 0):.0f} %",
                f"{100 * results.spread(case, who, 'rate'):.0f} %",
            ]
        )
    head = [
        "",
        "requests/s",
        "ours by it",
        "CPU us",
        *(_BESIDE[name] for name in beside),
        "p50 ms",
        "p99 ms",
        "core",
        "spread",
    ]
    return table(head, rows)


_BESIDE = {"redis_us": "Redis, CPU us", "anvil_us": "chain, CPU us"}


def plain(results: Results, case: str, columns: dict[str, str]) -> str:
    """One case whose metrics are columns, by their headings."""
    rows = [
        [shown(who), *(figure(results.get(case, who, name)) for name in columns)]
        for who in results.contenders(case)
    ]
    return table(["", *columns.values()], rows)
