"""Tests of grafana_queries.py: what it makes of a query, and what it finds wrong. No endpoint is asked.

python3 -B -m unittest tests/open/test_grafana_queries.py
"""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import grafana_queries as g

# 2026-03-02T08:00:00.500Z to 2026-03-09T08:00:00Z
WEEK = g.Range(1772438400500, 1773043200000)
HOUR = 3_600_000


def sql(text: str, **variables: g.Value) -> str:
    return g.expanded(text, WEEK, HOUR, variables)


class Macros(unittest.TestCase):
    def test_each_is_what_grafana_makes_of_it(self) -> None:
        between = "BETWEEN '2026-03-02T08:00:00.5Z' AND '2026-03-09T08:00:00Z'"
        for text, expected in [
            ("$__timeFilter(at)", f"at {between}"),
            ("$__timeFilter( s.started_at )", f"s.started_at {between}"),
            (
                "at >= $__timeFrom() AND at < $__timeTo()",
                "at >= '2026-03-02T08:00:00.5Z' AND at < '2026-03-09T08:00:00Z'",
            ),
            ("$__time(at)", 'at AS "time"'),
            ("$__timeEpoch(at)", 'extract(epoch from at) as "time"'),
            ("$__timeGroup(at, '5m')", "floor(extract(epoch from at)/300)*300"),
            ("$__timeGroupAlias(at, 1h, 0)", 'floor(extract(epoch from at)/3600)*3600 AS "time"'),
            ("$__timeGroupAlias(at, 1d, NULL)", 'floor(extract(epoch from at)/86400)*86400 AS "time"'),
            ("$__timeGroup(at, 500ms)", "floor(extract(epoch from at)/0.5)*0.5"),
            # With a comma right after it, as before version 5.3.
            ("SELECT $__timeGroup(at, 1h), 1", 'SELECT floor(extract(epoch from at)/3600)*3600 AS "time", 1'),
            ("$__timeGroupAlias(at, $__interval)", 'floor(extract(epoch from at)/3600)*3600 AS "time"'),
            ("$__interval_ms $__interval", "3600000 1h"),
            ("$__unixEpochFrom() $__unixEpochTo()", "1772438400 1773043200"),
        ]:
            self.assertEqual(sql(text), expected)

    def test_what_grafana_would_refuse_is_refused(self) -> None:
        for text in [
            "$__nothing(at)",
            "$__timeGroup(at)",
            "$__timeGroup(at, often)",
            "$__timeGroup(at, 1h, x)",
            "$__timeFilter()",
        ]:
            with self.assertRaises((g.Wrong, ValueError), msg=text):
                sql(text)


class Variables(unittest.TestCase):
    def test_a_name_is_quoted_and_all_is_put_in_as_it_is(self) -> None:
        condition = "('' IN (${person}) OR person IN ($person))"
        several = g.Value(["o'noor", 'the "boss"'])
        self.assertEqual(sql(condition, person=g.Value([], raw="''")), "('' IN ('') OR person IN (''))")
        list_ = "'o''noor','the \"boss\"'"
        self.assertEqual(sql(condition, person=several), f"('' IN ({list_}) OR person IN ({list_}))")
        self.assertEqual(sql("role LIKE '${role}'", role=g.Value(["o'x%"], multi=False)), "role LIKE 'o''x%'")

    def test_what_differs_between_versions_or_alters_a_name_is_refused(self) -> None:
        person = g.Value(["ann"])
        for text in ["${person:sqlstring}", "${person:csv}", "[[person]]"]:
            with self.assertRaises(g.Wrong, msg=text):
                sql(text, person=person)

    def test_a_name_with_a_macro_in_it_is_one_for_grafana_too(self) -> None:
        # This is why names with a dollar sign are not offered.
        self.assertEqual(sql("x = $name", name=g.Value(["$__timeTo()"])), "x = ''2026-03-09T08:00:00Z''")


class Intervals(unittest.TestCase):
    def test_they_are_rounded_as_grafana_rounds_them(self) -> None:
        for points, least, expected in [
            (1000, None, 600_000),
            (100, "1h", 7_200_000),
            (1000, "1h", HOUR),
            (100_000, None, 5000),
        ]:
            self.assertEqual(g.panel_interval(WEEK, points, least), expected)
        for ms, text in [(HOUR, "1h"), (5_400_000, "1h"), (604_800_000, "7d"), (50, "50ms"), (31_536_000_000, "1y")]:
            self.assertEqual(g.interval_text(ms), text)


class Answers(unittest.TestCase):
    def check(self, rows: list, kind: str = "timeseries", format_: str = "time_series", types: str = "d t n") -> None:
        names = {"d": "double precision", "t": "text", "n": "bigint"}
        answer = g.Answer(["time", "metric", "n"], [names[type_] for type_ in types.split()], rows, 0.0)
        g.check_answer(answer, kind, format_)

    def test_a_time_series_is_in_order_and_has_each_time_once(self) -> None:
        self.check([["1772438400", "a", "1"], ["1772438400", "b", "1"], ["1772442000", "a", "2"]])
        self.check([])
        for rows in [
            [["1772442000", "a", "1"], ["1772438400", "a", "1"]],
            [["1772438400", "a", "1"], ["1772438400", "a", "2"]],
            [[None, "a", "1"]],
            [["1772438400000", "a", "1"]],
        ]:
            with self.assertRaises(g.Wrong, msg=rows):
                self.check(rows)

    def test_a_panel_gets_the_types_that_it_needs(self) -> None:
        self.check([], "bargauge", "table")
        for kind, format_, types in [
            ("timeseries", "time_series", "t t n"),
            ("timeseries", "time_series", "d t t"),
            ("timeseries", "table", "d t n"),
            ("stat", "table", "t t t"),
            ("bargauge", "table", "n n n"),
        ]:
            with self.assertRaises(g.Wrong, msg=(kind, types)):
                self.check([], kind, format_, types)


class PromQL(unittest.TestCase):
    SERIES = g.exposed(
        "# TYPE a_total counter\n"
        'a_total{source="x",reason="it \\"is\\""} 1\n'
        'b{quantile="0.5",table="t"} 0.1\n'
        'b_sum{table="t"} 2\n'
        "c 3\n"
    )

    def names(self, expression: str) -> list[str]:
        return [selector.name for selector in g.promql(expression).selectors]

    def test_metrics_are_told_from_everything_else(self) -> None:
        for expression, names in [
            ('sum by (source) (rate(a_total{instance=~"x|y"}[5m]))', ["a_total"]),
            ("sum(rate(a_total[1m0s])) by (source) / on (job) group_left (table) c offset 5m", ["a_total", "c"]),
            ("histogram_quantile(0.99, b) > bool 1e3 or vector(0) unless c @ end()", ["b", "c"]),
            ('sum by(table)(b{quantile="0.5"}) - 2 * c', ["b", "c"]),
        ]:
            self.assertEqual(self.names(expression), names, expression)
        self.assertEqual(g.promql("sum by (source, reason) (a_total)").labels, {"source", "reason"})

    def test_what_is_not_exposed_is_found(self) -> None:
        good = [
            ("rate(a_total[1m])", "{{source}}"),
            ('max by (table) (b{quantile=~"0.5|1", instance="i"})', "{{table}}"),
            ("c", "c"),
            ('up{job="custody"}', "{{job}}"),
        ]
        for expression, legend in good:
            self.assertEqual(g.check_promql(expression, legend, self.SERIES, set()), "")
        for expression, legend in [
            ("rate(a[1m])", ""),
            ('b{quantile="0.9"}', ""),
            ("sum by (destination) (a_total)", ""),
            ("a_total", "{{table}}"),
            ("sum(a_total", ""),
            ("1 + 1", ""),
            ("custody_collect_messages_total", ""),
        ]:
            with self.assertRaises(g.Wrong, msg=expression):
                g.check_promql(expression, legend, self.SERIES, set())

    def test_what_is_counted_only_when_it_happens_is_looked_up_in_the_source(self) -> None:
        for name in g.ONLY_AFTER_IT_HAPPENED:
            self.assertIn(name, g.check_promql(f"sum({name})", "", {}, set()))
        self.assertIn("not counted yet", g.check_promql("custody_collect_messages_total", "", {}, {"collect"}))
        with self.assertRaises(g.Wrong):
            g.check_promql("custody_collect_nothing_total", "", {}, {"collect"})


class Dashboards(unittest.TestCase):
    """What can be told of the files without asking anything."""

    def test_they_name_the_provisioned_data_sources(self) -> None:
        provisioned = (g.DASHBOARDS.parent / "provisioning/datasources/custody.yaml").read_text()
        files = sorted(g.DASHBOARDS.glob("*.json"))
        self.assertEqual([file.stem for file in files], ["compliance", "operations"])
        for file in files:
            model = json.loads(file.read_text())
            for panel in model["panels"]:
                for target in panel["targets"]:
                    self.assertIn(f"uid: {target['datasource']['uid']}\n", provisioned)
                    self.assertIn(f"type: {target['datasource']['type']}\n", provisioned)

    def test_what_is_chosen_narrows_every_panel_that_can_tell(self) -> None:
        for panel in json.loads((g.DASHBOARDS / "compliance.json").read_text())["panels"]:
            sql = panel["targets"][0]["rawSql"]
            told = {name for name in ("gateway", "person", "target") if f"'' IN (${{{name}}})" in sql}
            if "exceptions" in sql:
                expected = set()
            elif "entitlements" in sql:
                expected = {"person"}
            elif "access_requests" in sql:
                expected = {"gateway", "person"}
            else:
                expected = {"gateway", "person", "target"}
            self.assertEqual(told, expected, panel["title"])

    def test_panels_do_not_lie_on_one_another(self) -> None:
        for file in g.DASHBOARDS.glob("*.json"):
            taken: set[tuple[int, int]] = set()
            for panel in json.loads(file.read_text())["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & taken, panel["title"])
                self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
                taken |= cells


if __name__ == "__main__":
    unittest.main()
