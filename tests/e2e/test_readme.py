"""The README's code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_code_runs(spark, capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["model"].treatmentNames == ["25 %", "50 %", "free"]
    scored = names["scored"]
    assert scored.count() == names["test"].count() > 6000
    assert {"uplift", "recommended"} <= set(scored.columns)
    assert names["result"].metrics.where("metric = 'autoc' and lower < upper").count() == 4
    assert names["rules"].arms == ["95-100 %", "25 %", "50 %", "free"]
    assert set(names["worth"].differences) == {"best_single", "control"}
    assert names["compared"].comparison.where("metric = 'autoc' and p_value between 0 and 1").count() == 4
    both, rules = names["both"], names["rules"]
    in_sql = both.selectExpr(f"{rules.sql} AS arm").groupBy("arm").count().collect()
    assert sum(row["count"] for row in in_sql) == scored.count()
    assert "difference" in capsys.readouterr().out


def test_every_path_it_names_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"--conf (conf/\S+\.yaml)", text)
    assert len(named) >= 4
    missing = [path for path in named if "://" not in path and not (README.parent / path).exists()]
    assert missing == []
