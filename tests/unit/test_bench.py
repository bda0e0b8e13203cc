from pathlib import Path

import msgspec
import pytest

from bench.compare import quiet
from bench.compare.__main__ import write
from bench.compare.chart import svg
from bench.compare.results import Results, markdown, with_others


def results(**rates: list[float]) -> Results:
    found = Results("a machine", seconds=8, long_backlog=100_000)
    for who, values in rates.items():
        for value in values:
            found.add("webhooks", who, {"rate": value, "cpu_ms": 1 / value})
    return found


def test_the_table_has_medians_ratios_to_the_plain_reference_and_the_noise() -> None:
    table = markdown(results(aftercall=[1900, 3000, 2000], plain=[1000, 900, 1600]))

    assert "**2,000** x 2.00 (1,900 to 3,000) | **1,000** (900 to 1,600) | - | -" in table
    assert "Medians of 3" in table


def test_the_table_tells_what_a_long_backlog_does() -> None:
    found = results(aftercall=[2000])
    found.add("backlog", "aftercall", {"short_rate": 500, "rate": 490, "short_pss_mb": 40, "pss_mb": 42})

    assert "x 0.98 (0.98 to 0.98) the rate and x\n1.05 the memory" in markdown(found)


def test_the_table_tells_that_some_phases_were_measured_more_often() -> None:
    found = results(aftercall=[2000, 2000, 2000])
    found.add("start", "aftercall", {"worker_s": 1})

    assert "Medians of 1 to 3, of 8 s each;" in markdown(found)


def test_the_table_tells_what_a_second_worker_does() -> None:
    found = results(aftercall=[2000])
    found.add("two", "aftercall", {"one_rate": 1000, "rate": 1500, "one_cpu_ms": 0.7, "cpu_ms": 0.8})

    assert "Two enrichers do 1,500 calls a second where one does 1,000: x 1.50 (1.50 to 1.50), at 0.80 ms" in markdown(
        found
    )


def test_the_chart_shows_whoever_was_measured() -> None:
    drawn = svg(results(aftercall=[2000], celery=[100]))

    assert ">Aftercall<" in drawn
    assert ">Celery<" in drawn
    assert ">FastStream<" not in drawn


def test_a_measurement_is_made_again_while_others_have_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    stolen, rates = iter([40.0, 9.0, 0.5]), iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(quiet, "REST_S", 0.0)
    monkeypatch.setattr(quiet, "_stolen_percent", lambda _before, _after: next(stolen))

    assert quiet.quietly(lambda: {"rate": next(rates)}) == {"rate": 3.0, quiet.STOLEN: 0.5}


def test_of_measurements_that_were_all_disturbed_the_quietest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stolen, rates = iter([40.0, 9.0, 20.0, 30.0]), iter([1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(quiet, "REST_S", 0.0)
    monkeypatch.setattr(quiet, "_stolen_percent", lambda _before, _after: next(stolen))

    assert quiet.quietly(lambda: {"rate": next(rates)}) == {"rate": 2.0, quiet.STOLEN: 9.0}


def test_what_is_not_measured_now_is_kept(tmp_path: Path) -> None:
    before = results(aftercall=[2000])
    (tmp_path / "performance.json").write_bytes(msgspec.json.encode(before))

    assert with_others(results(), tmp_path, ["drain-20"]).values == before.values
    assert with_others(results(), tmp_path, ["webhooks"]).values == {}
    assert with_others(results(), tmp_path / "nowhere", ["drain-20"]).values == {}
    longer = Results("a machine", seconds=9, long_backlog=100_000)
    assert with_others(longer, tmp_path, ["drain-20"]).values == {}


def test_the_table_tells_how_much_others_had_meanwhile() -> None:
    found = results(aftercall=[2000])
    for stolen in (0.0, 1.0, 12.0):
        found.add("webhooks", "aftercall", {quiet.STOLEN: stolen})

    assert "Others had 1.0 % of the processors meanwhile (median), at most 12 %." in markdown(found)


def test_what_people_wrote_around_the_figures_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Ours\n<!-- measured -->\nold\n<!-- until here -->\nOurs too\n")

    write(results(aftercall=[2000]), tmp_path)
    write(results(aftercall=[3000]), tmp_path)

    assert page.read_text().startswith("# Ours\n<!-- measured -->\nMedians")
    assert page.read_text().endswith("<!-- until here -->\nOurs too\n")
    assert "3,000" in page.read_text()
    assert "2,000" not in page.read_text()
    assert "old" not in page.read_text()
