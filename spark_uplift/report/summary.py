"""The plain-language summary that opens the page, honest when there is nothing to report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark_uplift.report.findings import POLICY_NAME, Finding, Step, Verdict
from spark_uplift.report.format import Estimate, Scale, decimals_for, interval, percent, plain


@dataclass(frozen=True, slots=True)
class Summary:
    """The opening words of the page.

    Attributes
    ----------
    verdict : Verdict
    headline : str
        One sentence.
    details : tuple of str
        Further sentences, each complete.
    arm : str or None
        The arm that the headline is about.
    warning : str
        Reason to doubt everything else, shown first; empty when there is none.
    """

    verdict: Verdict
    headline: str
    details: tuple[str, ...] = ()
    arm: str | None = None
    warning: str = ""


def summarise(found: Sequence[Finding], scale: Scale, failed_checks: Sequence[str] = ()) -> Summary:
    """Say in plain language what was found.

    Parameters
    ----------
    found : sequence of Finding
    scale : Scale
    failed_checks : sequence of str
        Names of the checks with status "fail": the reason to doubt everything else.
    """
    warning = _check_warning(failed_checks)
    helps = [finding for finding in found if finding.verdict is Verdict.HELPS]
    if helps:
        return _positive(max(helps, key=_preference), found, scale, warning)
    if not found or all(finding.verdict is Verdict.UNKNOWN for finding in found):
        return Summary(
            Verdict.UNKNOWN,
            "This run has no AUTOC with an interval, so it cannot say whether targeting helps.",
            tuple(_average_sentence(finding, scale, len(found) > 1) for finding in found),
            warning=warning,
        )
    return _negative(found, scale, warning)


def _gains(finding: Finding) -> bool:
    """Whether the headline's share gains at all; a good ranking of units that all lose is no reason."""
    return finding.top is not None and (finding.top.effect.value or 0.0) > 0


def _beats_everybody(finding: Finding) -> bool:
    """Whether the headline's share gains more than everybody does; else the advantage lies elsewhere."""
    if finding.top is None or finding.top.effect.value is None or finding.everybody.value is None:
        return False
    return finding.top.effect.value > finding.everybody.value


def _preference(finding: Finding) -> tuple[bool, bool, bool, float]:
    """What the headline can speak of; then the policy, which no one picked; then AUTOC by its uncertainty."""
    strength = (finding.autoc.value or 0.0) / (finding.autoc.half_width or float("inf"))
    return _gains(finding), _beats_everybody(finding), finding.arm == POLICY_NAME, strength


def _positive(best: Finding, found: Sequence[Finding], scale: Scale, warning: str) -> Summary:
    details: list[str] = []
    if best.top is not None and best.top.effect.value is not None:
        details += _target_details(best.top, best.everybody, scale)
    details.append(
        f"AUTOC {_metric_text(best.autoc, scale)}: the ranking finds units that gain more than average."
    )
    others = [finding for finding in found if finding is not best]
    if best.arm == POLICY_NAME:
        details += _single_arm_details(others, scale)
    elif others:
        details += _choice_details(best, others, scale)
    return Summary(
        Verdict.HELPS, _positive_headline(best, len(found) > 1, scale), tuple(details), best.arm, warning
    )


def _positive_headline(best: Finding, many: bool, scale: Scale) -> str:
    top, everybody = best.top, best.everybody
    policy = best.arm == POLICY_NAME
    whom = ", each unit with its best arm" if policy else f" with “{best.arm}”" if many else ""
    if top is None or top.effect.value is None:
        return f"Targeting{whom} helps: the AUTOC is {_metric_text(best.autoc, scale)}."
    share = percent(top.share)
    if not _gains(best):
        opening = f"The ranking works, but even the top {share}{whom} gain nothing"
    elif not _beats_everybody(best):
        opening = f"Targeting{whom} helps, but not at {share}"
    else:
        opening = f"Treat the top {share}{whom}"
    decimals = scale.decimals([top.effect, everybody])
    return (
        f"{opening}: {_per_thousand(top.effect, scale, decimals)}, "
        f"instead of {scale.effect(everybody.value, decimals)} when everybody is {'so ' * policy}treated."
    )


def _choice_details(best: Finding, others: Sequence[Finding], scale: Scale) -> list[str]:
    """What speaks for caution when the headline's arm was picked because its numbers were the best."""
    candidates = len(others) + 1
    picked = f"“{best.arm}” was picked out of {candidates} candidates for its strong evidence"
    details = [f"{picked}; the interval is not corrected for that choice."]
    if scale.level is not None:
        wide = best.autoc.widened(scale.level, candidates)
        bounds = interval(wide.lower, wide.upper, max(2, decimals_for(wide.half_width)))
        verdict = "still above 0" if wide.sign == 1 else "which includes 0, so it may be luck"
        details = [f"{picked}. Corrected for that choice, its AUTOC has the interval {bounds}, {verdict}."]
    known = [
        finding for finding in others if finding.everybody.value is not None and finding.arm != POLICY_NAME
    ]
    larger = max(known, key=lambda finding: finding.everybody.value or 0.0, default=None)
    if larger is not None and (larger.everybody.value or 0.0) > (best.everybody.value or 0.0):
        text = scale.effect_text(larger.everybody, scale.decimals([larger.everybody]))
        details.append(f"The largest effect of treating everybody is that of “{larger.arm}”: {text}.")
    return details


def _single_arm_details(arms: Sequence[Finding], scale: Scale) -> list[str]:
    """What the arm with the largest average effect gives alone, to set against the policy."""
    known = [finding for finding in arms if finding.everybody.value is not None and finding.top is not None]
    text = "A unit’s best arm is the one with its largest predicted effect."
    if not known:
        return [text]
    alone = max(known, key=lambda finding: finding.everybody.value or 0.0)
    top, share = (alone.top.effect, alone.top.share) if alone.top else (Estimate(None), None)
    decimals = scale.decimals([top, alone.everybody])
    return [
        f"{text} With “{alone.arm}” alone, its own top {percent(share)} gain "
        f"{scale.effect_text(top, decimals)}, everybody {scale.effect_text(alone.everybody, decimals)}."
    ]


def _target_details(top: Step, everybody: Estimate, scale: Scale) -> list[str]:
    details = []
    if top.effect.sign == 0:
        details.append(
            f"The interval for the top {percent(top.share)} includes 0: the gain itself is not certain."
        )
    if top.effect.value is not None and top.effect.value <= 0:
        return details
    if everybody.sign == 1 and top.effect.value is not None and everybody.value:
        kept = top.share * top.effect.value / everybody.value
        if kept < 1:
            details.append(
                f"{percent(top.share)} of the treatments bring {percent(kept)} of the effect of treating "
                "everybody."
            )
        else:
            details.append(
                f"{percent(top.share)} of the treatments bring as much as treating everybody, or more: "
                "the rest gain nothing on average."
            )
    elif everybody.sign == -1:
        details.append("On average the treatment lowers the outcome: most units are better left alone.")
    elif everybody.sign == 0:
        text = scale.effect_interval(everybody, scale.decimals([top.effect, everybody]))
        details.append(
            f"Treating everybody has no proven effect (interval {text}): whom to treat is what matters."
        )
    return details


def _negative(found: Sequence[Finding], scale: Scale, warning: str) -> Summary:
    many = len(found) > 1
    if all(finding.verdict is Verdict.HARMS for finding in found):
        verdict = Verdict.HARMS
        headline = "Do not target by this model: the units it ranks first gain less than average."
    else:
        verdict = Verdict.NO_EVIDENCE
        headline = f"No evidence that targeting helps{' with any of the arms' if many else ''}."
    details: list[str] = []
    for finding in found:
        ranking = f"AUTOC {_metric_text(finding.autoc, scale)}{_RANKING[finding.verdict]}."
        details.append(f"{_about(finding, many, ranking)} {_average_sentence(finding, scale, False)}")
    return Summary(verdict, headline, tuple(details), warning=warning)


_RANKING = {
    Verdict.NO_EVIDENCE: " includes 0, so the ranking is not shown to be better than chance",
    Verdict.HARMS: " lies below 0: the ranking is worse than chance",
    Verdict.UNKNOWN: " has no interval",
    Verdict.HELPS: "",
}

_AVERAGE = {1: "", 0: ", which is no proven effect either", -1: ": it lowers the outcome", None: ""}


def _average_sentence(finding: Finding, scale: Scale, many: bool) -> str:
    """What treating everybody does."""
    everybody = finding.everybody
    if everybody.value is None:
        return _about(finding, many, "the effect of treating everybody is not known.")
    text = _per_thousand(everybody, scale, scale.decimals([everybody]))
    return _about(finding, many, f"treating everybody gives {text}{_AVERAGE[everybody.sign]}.")


def _about(finding: Finding, many: bool, sentence: str) -> str:
    """The sentence, opened by the arm's name when there are several arms."""
    return f"“{finding.arm}”: {sentence}" if many else sentence[0].upper() + sentence[1:]


def _per_thousand(estimate: Estimate, scale: Scale, decimals: int) -> str:
    """Say "+x visits per 1,000 units treated, 95 % interval a to b"."""
    return (
        f"{scale.effect(estimate.value, decimals)} {scale.effect_label} treated, "
        f"{scale.interval_name} {scale.effect_interval(estimate, decimals)}"
    )


def _metric_text(estimate: Estimate, scale: Scale) -> str:
    """Say "0.21 (95 % interval 0.10 to 0.32)", in outcome units per unit."""
    if estimate.half_width is None:
        return plain(estimate.value)
    decimals = max(2, decimals_for(estimate.half_width))
    bounds = interval(estimate.lower, estimate.upper, decimals)
    return f"{plain(estimate.value, decimals)} ({scale.interval_name} {bounds})"


def _check_warning(failed: Sequence[str]) -> str:
    if not failed:
        return ""
    names = ", ".join(failed)
    what = "A check of the experiment" if len(failed) == 1 else f"{len(failed)} checks of the experiment"
    return f"{what} failed ({names}): take no effect on this page as real until that is explained."
