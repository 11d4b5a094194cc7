from __future__ import annotations

from spark_uplift.report.findings import (
    POLICY_NAME,
    Finding,
    Step,
    Verdict,
)
from spark_uplift.report.format import Estimate, Scale
from spark_uplift.report.summary import Summary, summarise

VISITS = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)
CLICKS = Scale(name="click", kind="binary", unit="clicks", level=0.9)

GOOD, NOTHING, BAD = Estimate(0.2, 0.1, 0.3), Estimate(0.01, -0.1, 0.12), Estimate(-0.2, -0.3, -0.1)
TOP, EVERYBODY = Estimate(1.556, 1.227, 1.885), Estimate(0.948, 0.793, 1.103)


def finding(
    autoc: Estimate = GOOD,
    top: Estimate = TOP,
    everybody: Estimate = EVERYBODY,
    arm: str = "free care",
) -> Finding:
    steps = (Step(0.1, top), Step(0.3, top), Step(1.0, everybody))
    return Finding(arm, autoc, everybody, steps, 500, 700, 3.1, 2.2)


def words(summary: Summary) -> str:
    return " ".join((summary.warning, summary.headline, *summary.details)).replace("\u202f", " ")


def test_a_positive_result_says_whom_to_treat_and_what_that_gives() -> None:
    summary = summarise([finding()], VISITS)
    assert summary.verdict is Verdict.HELPS
    assert summary.headline.replace("\u202f", " ") == (
        "Treat the top 30 %: +1,556 visits per 1,000 units treated, 95 % interval 1,227 to 1,885, "
        "instead of +948 when everybody is treated."
    )
    assert "30 % of the treatments bring 49 % of the effect of treating everybody." in words(summary)
    assert "AUTOC 0.20 (95 % interval 0.10 to 0.30)" in words(summary)


def test_a_binary_outcome_is_told_per_thousand_units_with_its_own_level() -> None:
    summary = summarise(
        [finding(top=Estimate(0.0594, 0.0431, 0.0749), everybody=Estimate(0.0302, 0.021, 0.039))], CLICKS
    )
    assert "+59 clicks per 1,000 units treated, 90 % interval 43 to 75, instead of +30" in words(summary)


def test_with_several_arms_the_headline_names_the_arm_and_owns_up_to_the_choice() -> None:
    weak = finding(autoc=Estimate(0.3, 0.01, 0.59), arm="discount")
    summary = summarise([weak, finding()], VISITS)
    assert summary.arm == "free care"
    assert "with “free care”" in summary.headline
    assert "was picked out of 2 candidates" in words(summary)
    assert "has the interval 0.09 to 0.31, still above 0." in words(summary)


def test_an_advantage_that_may_be_luck_of_the_choice_is_called_so() -> None:
    close = finding(autoc=Estimate(0.2, 0.01, 0.39))
    summary = summarise([close, finding(autoc=NOTHING, arm="a"), finding(autoc=NOTHING, arm="b")], VISITS)
    assert "which includes 0, so it may be luck" in words(summary)


def test_an_arm_with_a_larger_average_effect_is_named_beside_the_headline() -> None:
    rival = finding(autoc=NOTHING, arm="free", everybody=Estimate(1.2, 1.0, 1.4))
    summary = summarise([finding(arm="25 %"), rival], VISITS)
    assert "The largest effect of treating everybody is that of “free”: +1,200 (1,000 to 1,400)." in words(
        summary
    )


def test_an_arm_whose_top_share_beats_everybody_goes_before_one_with_more_evidence() -> None:
    elsewhere = finding(autoc=Estimate(0.9, 0.8, 1.0), top=Estimate(0.4, -0.2, 1.0), arm="a")
    assert summarise([elsewhere, finding(arm="b")], VISITS).arm == "b"
    alone = summarise([elsewhere], VISITS)
    assert "Targeting helps, but not at 30 %: +400 visits" in words(alone)


def test_the_policy_leads_because_nobody_picked_it() -> None:
    policy = finding(autoc=Estimate(0.3, 0.05, 0.55), arm=POLICY_NAME)
    summary = summarise([policy, finding(), finding(arm="discount", everybody=NOTHING)], VISITS)
    assert summary.arm == POLICY_NAME
    assert "Treat the top 30 %, each unit with its best arm: +1,556" in words(summary)
    assert "when everybody is so treated" in words(summary)
    assert "With “free care” alone, its own top 30 % gain +1,556 (1,227 to 1,885), everybody +948" in words(
        summary
    )
    assert "not corrected" not in words(summary)


def test_a_policy_that_gains_nothing_leaves_the_headline_to_an_arm_that_does() -> None:
    policy = finding(top=Estimate(-0.1, -0.2, -0.05), arm=POLICY_NAME)
    assert summarise([policy, finding()], VISITS).arm == "free care"


def test_no_evidence_is_said_plainly() -> None:
    summary = summarise([finding(autoc=NOTHING)], VISITS)
    assert summary.verdict is Verdict.NO_EVIDENCE
    assert summary.headline == "No evidence that targeting helps."
    assert "includes 0, so the ranking is not shown to be better than chance." in words(summary)
    assert "Treating everybody gives +948 visits per 1,000 units treated" in words(summary)
    assert "Treat the top" not in words(summary)


def test_no_evidence_with_several_arms_says_so_of_each() -> None:
    summary = summarise([finding(autoc=NOTHING, arm="a"), finding(autoc=BAD, arm="b")], VISITS)
    assert summary.headline == "No evidence that targeting helps with any of the arms."
    assert "“a”: AUTOC" in words(summary)
    assert (
        "“b”: AUTOC −0.20 (95 % interval −0.30 to −0.10) lies below 0: the ranking is worse than chance."
        in words(summary)
    )


def test_an_average_effect_that_covers_zero_is_not_sold_as_one() -> None:
    summary = summarise([finding(autoc=NOTHING, everybody=Estimate(0.01, -0.05, 0.07))], VISITS)
    assert "which is no proven effect either" in words(summary)


def test_a_ranking_worse_than_chance_is_warned_of() -> None:
    summary = summarise([finding(autoc=BAD)], VISITS)
    assert summary.verdict is Verdict.HARMS
    assert summary.headline.startswith("Do not target by this model")


def test_treatment_that_lowers_the_outcome_on_average_is_named() -> None:
    summary = summarise([finding(everybody=Estimate(-0.4, -0.5, -0.3))], VISITS)
    assert "instead of −400 when everybody is treated" in words(summary)
    assert "most units are better left alone" in words(summary)


def test_a_good_ranking_of_units_that_all_lose_does_not_say_treat() -> None:
    summary = summarise(
        [finding(top=Estimate(-0.1, -0.2, -0.01), everybody=Estimate(-0.4, -0.5, -0.3))], VISITS
    )
    assert not summary.headline.startswith("Treat")
    assert "even the top 30 % gain nothing: −100 visits" in words(summary)


def test_an_uncertain_gain_in_the_top_group_is_said() -> None:
    summary = summarise([finding(top=Estimate(0.5, -0.1, 1.1))], VISITS)
    assert "The interval for the top 30 % includes 0" in words(summary)


def test_treatments_beyond_the_top_that_bring_nothing_are_said() -> None:
    summary = summarise([finding(top=Estimate(4.0, 3.0, 5.0))], VISITS)
    assert "the rest gain nothing on average" in words(summary)


def test_without_an_interval_nothing_is_claimed() -> None:
    summary = summarise([finding(autoc=Estimate(0.2))], VISITS)
    assert summary.verdict is Verdict.UNKNOWN
    assert "cannot say whether targeting helps" in summary.headline
    assert summarise([], VISITS).verdict is Verdict.UNKNOWN


def test_failed_checks_come_first() -> None:
    summary = summarise([finding()], VISITS, ["arm counts", "leakage"])
    assert summary.warning.startswith("2 checks of the experiment failed (arm counts, leakage)")
    assert summarise([finding()], VISITS, ["leakage"]).warning.startswith(
        "A check of the experiment failed (leakage)"
    )
