"""The page of a personalization test: what was decided, why, for whom, and what it gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from spark_uplift import __version__
from spark_uplift.report import sections
from spark_uplift.report.figure import DARK, PALETTE
from spark_uplift.report.format import MISSING, Estimate, Scale, count, date, interval, percent, plain
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.segments import Ruler, segments_view
from spark_uplift.report.templating import environment, resource

__all__ = ["CampaignInputs", "render_campaign"]

View = dict[str, Any]
_TOLD = 3
_NAMES = {
    "personalised": "an arm for each recipient",
    "single": "the best single arm for all",
    "no_send": "no send",
}


@dataclass(frozen=True, kw_only=True)
class CampaignInputs:
    """Rows of one campaign, exactly as the tables hold them; what a later step writes may be missing.

    Parameters
    ----------
    name : str
        Of the campaign.
    arms : sequence of str
        Arms of the test, the one that the others are compared with first.
    steps : sequence of mapping
        Rows of ``campaigns``.
    check_results, segments, values, results : sequence of mapping
        Rows of ``check_results``, ``segments``, ``campaign_values`` and ``campaign_results``.
    outcome : mapping
        ``name``, ``kind`` ("binary" or "continuous"), ``unit``.
    currency : str or None
        Unit of money.
    worth : bool
        Whether money was configured; without it, net values are outcomes.
    level : float
        Coverage of the intervals, 0..1.
    """

    name: str
    arms: Sequence[str]
    steps: Rows = ()
    check_results: Rows = ()
    segments: Rows = ()
    values: Rows = ()
    results: Rows = ()
    outcome: Mapping[str, Any] = field(default_factory=dict)
    currency: str | None = None
    worth: bool = False
    level: float = 0.95


def render_campaign(inputs: CampaignInputs) -> str:
    """Make the page.

    Parameters
    ----------
    inputs : CampaignInputs

    Returns
    -------
    str
        A complete HTML document without scripts and outside references.
    """
    scale = Scale(
        name=str(inputs.outcome.get("name", "the outcome")),
        kind=str(inputs.outcome.get("kind", "continuous")),
        unit=str(inputs.outcome.get("unit") or "units of outcome"),
        level=inputs.level,
    )
    page = _as_report(inputs)
    view = {
        "title": inputs.name,
        "version": __version__,
        "css": Markup(resource("templates/report.css")),
        "palette": [(colour, DARK[colour]) for colour in PALETTE],
        "scale": scale,
        "money": _unit_of_money(inputs),
        "headline": _headline(inputs),
        "sentences": _sentences(inputs, scale),
        "facts": _facts(inputs),
        "checks": sections.checks_view(page),
        "policies": _policies(inputs),
        "segments": segments_view(page, scale),
        "sent": _sent(inputs),
        "gains": _gains(inputs, scale),
        "steps": [(row["step"], date(row["done_at"]), row["message"]) for row in inputs.steps],
    }
    return environment().get_template("campaign.html.j2").render(view)


def _as_report(inputs: CampaignInputs) -> ReportInputs:
    experiment: Row = {
        "name": inputs.name, "source": "", "treatment": "arm", "control": inputs.arms[0], "outcome": "outcome",
        "features": [], "rows_in": None, "rows_quarantined": None,
    }  # fmt: skip
    return ReportInputs(experiment=[experiment], check_results=inputs.check_results, segments=inputs.segments)


def _facts_of(inputs: CampaignInputs, step: str) -> dict[str, str]:
    return next((dict(row["facts"]) for row in inputs.steps if row["step"] == step), {})


def _headline(inputs: CampaignInputs) -> str:
    learnt = _facts_of(inputs, "learn")
    if not learnt:
        return "The test is under way." if inputs.steps else "The test has not been started."
    gain = Estimate.of(*(float(learnt[key]) for key in ("gain", "gain_lower", "gain_upper")))
    text = _money(inputs, gain)
    if learnt["decision"] == "personalised":
        everybody = f"giving everybody \u201c{learnt['single']}\u201d"
        return f"Give each recipient an arm of their own: {text} per 1,000 recipients over {everybody}."
    return (
        f"Give everybody \u201c{learnt['single']}\u201d: that an arm for each recipient would gain more is not proven "
        f"({text} per 1,000 recipients)."
    )


def _money(inputs: CampaignInputs, gain: Estimate) -> str:
    unit = _unit_of_money(inputs)
    value = plain(None if gain.value is None else gain.value * 1000, sign=True)
    return f"{value} {unit} ({percent(inputs.level)} interval {_ends(gain, 1000)})"


def _unit_of_money(inputs: CampaignInputs) -> str:
    """Return what net values count: money, or outcomes where nobody said what they are worth."""
    if inputs.currency:
        return inputs.currency
    return "units of money" if inputs.worth else str(inputs.outcome.get("unit") or "units of outcome")


def _ends(estimate: Estimate, times: float, decimals: int | None = None) -> str:
    low, high = estimate.lower, estimate.upper
    return interval(None if low is None else low * times, None if high is None else high * times, decimals)


def _sentences(inputs: CampaignInputs, scale: Scale) -> list[str]:
    """Say what was measured, and for whom which arm does how much, in plain words."""
    told = []
    for row in _in_order(inputs.results):
        gain = Estimate.of(row["net"], row["net_lower"], row["net_upper"])
        told.append(
            f"Measured in the send: {_NAMES[row['treated_as']]} against {_NAMES[row['against']]}: "
            f"{_money(inputs, gain)} per 1,000 recipients."
        )
    best = [row for row in inputs.segments if row["arm"] == row["recommended"] and row["uplift"] is not None]
    for row in sorted(best, key=lambda row: row["segment"])[:_TOLD]:
        told.append(
            f"{_who(row['rule'])}: {row['arm']} {_effect(row, scale)} ({percent(row['share'])} of all)."
        )
    return told


def _who(rule: str) -> str:
    return f"Recipients with {rule}" if rule else "All recipients"


def _effect(row: Row, scale: Scale) -> str:
    estimate = Estimate.of(row["uplift"], row["lower"], row["upper"])
    if scale.kind == "binary":
        value = plain((estimate.value or 0.0) * 100, 1, sign=True)
        return f"{value} points ({percent(scale.level)} interval {_ends(estimate, 100, 1)})"
    return f"{scale.effect_text(estimate)} {scale.effect_label}"


def _facts(inputs: CampaignInputs) -> list[tuple[str, str]]:
    begun = _facts_of(inputs, "start")
    if not begun:
        return []
    facts = [
        ("Recipients", count(int(begun["recipients_count"]))),
        ("Tested", count(int(begun["tested"]))),
        *((f"Given “{arm}”", count(int(begun[f"arm:{arm}"]))) for arm in inputs.arms),
    ]
    if begun.get("smallest_effect"):
        facts.append(("Finds an effect of", plain(float(begun["smallest_effect"]))))
    return facts


def _policies(inputs: CampaignInputs) -> View:
    """Each policy's cross-validated value on a common axis."""
    estimates = [Estimate.of(row["value"], row["lower"], row["upper"]) for row in inputs.values]
    ends = [end for e in estimates for end in (e.lower, e.upper) if end is not None]
    pad = (max(ends) - min(ends) or 1.0) * 0.03 if ends else 0.0
    place = Ruler(min(ends) - pad, max(ends) + pad) if ends else Ruler(0.0, 1.0)
    order = {"personalised": 0, "single": 1}
    lines = []

    def rank(pair: tuple[Row, Estimate]) -> tuple[int, str]:
        return order.get(pair[0]["policy"], 2), pair[0]["policy"]

    for row, estimate in sorted(zip(inputs.values, estimates, strict=True), key=rank):
        gain = Estimate.of(row["difference"], row["difference_lower"], row["difference_upper"])
        lines.append(
            {
                "name": _NAMES.get(row["policy"], row["policy"]),
                "settings": row["settings"] or "",
                "value": plain(None if estimate.value is None else estimate.value * 1000),
                "interval": _ends(estimate, 1000),
                "gain": MISSING if gain.value is None else plain(gain.value * 1000, sign=True),
                "gain_interval": "" if gain.value is None else _ends(gain, 1000),
                "against": row["against"] or "",
                "chosen": bool(row["chosen"]),
                "at": place(estimate.value),
                "from": place(estimate.lower),
                "to": place(estimate.upper),
            }
        )
    return {"lines": lines}


def _in_order(rows: Rows) -> list[Row]:
    """Return the comparisons, the one that the campaign was made for first."""
    names = list(_NAMES)
    return sorted(rows, key=lambda row: (names.index(row["treated_as"]), names.index(row["against"])))


def _sent(inputs: CampaignInputs) -> list[View]:
    sent = _facts_of(inputs, "send")
    total = int(sent.get("sent", 0))
    cells = [(name, int(n)) for name, n in sent.items() if "/" in name]
    return [
        {
            "group": _NAMES.get(name.split("/", 1)[0], name),
            "arm": name.split("/", 1)[1],
            "n": count(n),
            "share": percent(n / total if total else None, 1),
        }
        for name, n in cells
    ]


def _gains(inputs: CampaignInputs, scale: Scale) -> list[View]:
    lines = []
    for row in _in_order(inputs.results):
        net = Estimate.of(row["total"], row["total_lower"], row["total_upper"])
        gain = Estimate.of(row["gain"], row["lower"], row["upper"])
        lines.append(
            {
                "what": f"{_NAMES[row['treated_as']]} against {_NAMES[row['against']]}",
                "n": count(row["n"]),
                "n_against": count(row["n_against"]),
                "compared": percent(row["share_compared"], 1),
                "gain": scale.effect(gain.value),
                "interval": scale.effect_interval(gain),
                "total": plain(net.value, sign=True),
                "total_interval": interval(net.lower, net.upper),
            }
        )
    return lines
