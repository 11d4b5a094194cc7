from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from spark_uplift.report import ReportInputs, render
from spark_uplift.report.build import CONTENTS, OPTIONAL, embed_json
from tests.unit.report import samples, samples_decided

HOSTILE = "</script><img src=x onerror=alert(1)>"
EMPTY = (
    "This run has no record of its experiment.",
    "No counts by arm were recorded.",
    "No checks were run.",
    "No row was set aside",
    "no effect per arm can be shown.",
    "This run has no uplift or Qini curve.",
    "This run has no TOC curve.",
    "This run has no uplift table.",
    "No segments were found in this run.",
    "This run has no feature importances.",
    "No scores were recorded in this run.",
    "This run has no evaluation metrics.",
    "The forest’s parameters were not recorded.",
    "The library versions were not recorded.",
    "The configuration was not recorded.",
)


class Page(HTMLParser):
    """Elements, their attributes and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._text: list[str] = []
        self._inside: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self._text.append(data)
        elif self._inside == "script":
            self.scripts[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._text).split()).replace("\u202f", " ")

    def data(self) -> dict[str, Any]:
        return json.loads(next(script for script in self.scripts if script.startswith("{")))


@pytest.fixture(scope="module")
def html() -> str:
    return render(samples.visits())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def full_html() -> str:
    return render(samples_decided.everything())


@pytest.fixture(scope="module")
def full(full_html: str) -> Page:
    return Page(full_html)


def test_sections_come_in_order(page: Page) -> None:
    anchors = [attrs["id"] for tag, attrs in page.elements if tag == "section"]
    words = (
        "summary experiment effects curves toc buckets calibration segments importance scores metrics card"
    )
    assert anchors == words.split()


def test_the_page_is_small_and_complete(html: str, full_html: str) -> None:
    assert len(full_html.encode()) < 1_600_000
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")


def test_nothing_is_loaded_from_outside(page: Page) -> None:
    loading = {"src", "srcset", "data", "poster", "action", "background", "ping"}
    for tag, attrs in page.elements:
        assert not loading & set(attrs), (tag, attrs)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert (attrs.get("href") or "#").startswith("#")


def test_styles_load_nothing(html: str) -> None:
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert "@import" not in style[1]
    assert "url(" not in style[1]


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(page: Page) -> None:
    policy = next(
        str(a["content"]) for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [script for script in page.scripts if not script.startswith("{")]
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code}
    assert hashes == allowed
    assert len(code) == 3


def test_every_figure_has_its_box_and_every_box_its_figure(page: Page) -> None:
    boxes = {attrs["id"] for tag, attrs in page.elements if attrs.get("class") == "chart"}
    assert boxes == set(page.data()["figures"])
    assert len(boxes) == 1 + 4 * 5 + 3 + 2


def test_with_everything_all_sections_are_there(full: Page) -> None:
    anchors = [attrs["id"] for tag, attrs in full.elements if tag == "section"]
    linked = [attrs["href"] for tag, attrs in full.elements if tag == "a" and attrs.get("class") != "skip"]
    assert anchors == [anchor for anchor, _, _ in CONTENTS]
    assert linked == [f"#{anchor}" for anchor in anchors]
    assert {attrs["id"] for _, attrs in full.elements if attrs.get("class") == "chart"} == set(
        full.data()["figures"]
    )


def test_a_section_without_rows_is_absent_from_the_contents_too(page: Page) -> None:
    wanted = {f"#{anchor}" for anchor in OPTIONAL} - {"#calibration"}
    assert not wanted & {attrs.get("href") for tag, attrs in page.elements if tag == "a"}
    assert not {name[1:] for name in wanted} & {
        attrs.get("id") for tag, attrs in page.elements if tag == "section"
    }


def test_figures_have_a_caption_each(page: Page) -> None:
    captions = [attrs for _, attrs in page.elements if attrs.get("class") == "caption"]
    assert len(captions) >= 7


def test_the_page_fits_a_phone(page: Page, html: str) -> None:
    assert any(attrs.get("name") == "viewport" for _, attrs in page.elements)
    parents = html.count('<div class="scroll"><table')
    assert parents == html.count("<table")


def test_light_dark_and_print_are_styled(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_the_summary_opens_the_page(page: Page) -> None:
    assert "Treat the top 30 %, each unit with its best arm: +" in page.text
    assert "visits per 1,000 units treated, 95 % interval" in page.text


def test_the_planner_starts_at_the_headline(page: Page) -> None:
    planner = page.data()["planner"]
    assert len(planner) == 4
    assert [row["share"].replace("\u202f", " ") for row in planner[0]] == [
        f"{10 * i} %" for i in range(1, 11)
    ]
    slider = next(attrs for tag, attrs in page.elements if attrs.get("type") == "range")
    assert (slider["value"], slider["max"]) == ("2", "9")
    assert planner[0][2]["effect"] in page.text


def test_formulas_stand_beside_the_numbers(page: Page) -> None:
    for formula in samples.FORMULAS.values():
        assert formula in page.text


def test_the_model_card_has_configuration_digest_and_versions(page: Page) -> None:
    for part in (
        "numTrees: 100",
        samples.CARD["digest"],
        "models:/spark_uplift_sample/3",
        "4.2.0",
        "training_view v3",
    ):
        assert str(part) in page.text


def test_checks_show_the_worst_first_with_words_not_only_colours(page: Page) -> None:
    at = [
        page.text.index(word)
        for word in ("warning missing values", "passed arm predictability", "skipped late features")
    ]
    assert at == sorted(at)
    assert "outcome missing 31 0.13 %" in page.text


def test_a_failed_check_is_the_first_thing_said() -> None:
    inputs = samples.conversions(n=3000)
    failing = ReportInputs(experiment=inputs.experiment, check_results=samples.checks("fail"))
    text = Page(render(failing)).text
    assert text.index("A check of the experiment failed (sample ratio)") < text.index("so it cannot say")


def test_what_was_decided_is_in_the_summary(full: Page) -> None:
    assert "Decided: spend 960,000 EUR, expect +2,687,000 EUR" in full.text


def test_a_check_that_passed_on_many_columns_takes_one_line() -> None:
    row = {**samples.checks()[1], "message": "fine"}
    many = [{**row, "column_name": f"x{i}"} for i in range(50)]
    text = Page(render(ReportInputs(experiment=[], check_results=many))).text
    assert "50 columns: x0, x1, " in text
    assert text.count("arm predictability") == 1


def test_empty_inputs_make_a_page_that_says_so() -> None:
    page = Page(render(ReportInputs(experiment=[])))
    for sentence in EMPTY:
        assert sentence in page.text
    assert page.data() == {"figures": {}, "dark": page.data()["dark"], "planner": []}
    assert "cannot say whether targeting helps" in page.text


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(ReportInputs) if field.name != "experiment"]
)
def test_any_single_list_may_be_missing(name: str) -> None:
    inputs = samples_decided.everything(n=3000)
    parts = {field: getattr(inputs, field) for field in inputs.__dataclass_fields__ if field != name}
    assert "</html>" in render(ReportInputs(**parts))


@pytest.mark.parametrize("name", sorted(samples_decided.TABLES))
def test_numbers_that_are_missing_break_no_section(name: str) -> None:
    inputs = samples_decided.everything(n=3000)
    holes = [
        {key: None if isinstance(value, float) and key != "fraction" else value for key, value in row.items()}
        for row in getattr(inputs, name)
    ]
    text = Page(render(dataclasses.replace(inputs, **{name: holes}))).text
    assert "nan" not in text.lower().replace("finance", "")
    assert "None" not in text


def test_without_counts_by_arm_the_evaluated_rows_are_counted() -> None:
    inputs = samples.conversions(n=3000)
    text = Page(render(ReportInputs(experiment=inputs.experiment, uplift_table=inputs.uplift_table))).text
    assert "Counted on the holdout rows, which the forest has not seen." in text
    assert "not given" in text


def test_training_rows_are_owned_up_to() -> None:
    inputs = samples.conversions(n=3000)
    table = [{**row, "split": "train"} for row in inputs.uplift_table]
    assert (
        "which flatters the model"
        in Page(render(ReportInputs(experiment=inputs.experiment, uplift_table=table))).text
    )


def hostile(node: Any) -> Any:
    """The same rows with every text replaced, except for the words that the code looks at."""
    words = {
        "pass",
        "warn",
        "fail",
        "skip",
        "qini",
        "uplift",
        "toc",
        "autoc",
        "grf",
        "binary",
        "continuous",
        "holdout",
        "model",
        "*",
        "policy",
        "calibration_slope",
    }
    if isinstance(node, str):
        return node if node in words else f"{HOSTILE}{node}"
    if isinstance(node, dict):
        return {key: hostile(value) for key, value in node.items()}
    return [hostile(value) for value in node] if isinstance(node, (list, tuple)) else node


def test_hostile_names_stay_text() -> None:
    inputs = samples_decided.everything(n=3000)
    parts = {field: hostile(getattr(inputs, field)) for field in inputs.__dataclass_fields__}
    for row in parts["evaluation_curves"]:
        row["model_id"] = row["model_id"].removeprefix(HOSTILE)
    parts["model_card"] = {
        **parts["model_card"],
        "model_id": samples.RUN["model_id"],
        "forest_parameters": {HOSTILE: HOSTILE},
    }
    html = render(ReportInputs(**parts))
    page = Page(html)
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 4
    assert HOSTILE in page.text
    assert HOSTILE not in html
    assert "<img" not in json.dumps(page.data()["figures"])


def test_embedded_json_cannot_leave_its_element() -> None:
    text = str(embed_json({"a": "</script><!--&\u2028"}))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed_json({"a": float("nan")})


def test_the_same_inputs_make_the_same_page() -> None:
    assert render(samples.conversions(n=3000)) == render(samples.conversions(n=3000))


def test_the_charting_library_comes_with_its_licence() -> None:
    from importlib import resources

    assets = resources.files("spark_uplift.report") / "assets"
    assert "MIT" in (assets / "plotly-basic.LICENSE.txt").read_text(encoding="utf-8")
    assert "</script" not in (assets / "plotly-basic.min.js").read_text(encoding="utf-8").lower()
