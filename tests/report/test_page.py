"""The report's page and its data."""

import html
import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from pytest_edgeai.records import Figure, Outcome, Results
from pytest_edgeai.report import encode, render, write
from tests.report import language, sample

FILES = ["index.html", "optimization.json", "optimization.md", "results.json"]
VOID = {"meta", "link", "br", "img", "input", "hr"}

RUNS = {
    "one model": sample.results(),
    "nearest": sample.results("stand-in", meets=False),
    "foreign": sample.results("foreign"),
    "several": sample.several(),
    "hostile": sample.hostile(),
    "empty": sample.empty(),
    "language": language.results(),
    "language, foreign": language.results("foreign"),
    "language, hostile": sample.hostile(language.results(meets=False)),
    "both kinds": language.beside_tensors(),
    "searched": sample.searched(),
    "searched, nearest": sample.searched(meets=False),
    "searched, hostile": sample.hostile(sample.searched()),
}


class Page(HTMLParser):
    """What a parser finds: every tag closed in order, ids, and texts outside of scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: dict[str, str] = {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            key = self.tags[-1][1].get("id") or self.open[-1]
            self.data[key] = self.data.get(key, "") + data
        else:
            self.text += data

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def ids(self):
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]


@pytest.fixture(params=RUNS)
def page(request):
    return Page(render(RUNS[request.param]))


@pytest.fixture
def one():
    return Page(render(sample.results()))


def test_the_sections_are_there_in_their_order(page):
    sections = [attrs["id"] for attrs in page.of("section") if "id" in attrs]

    searched = ["stages", "search"] * ("stages" in sections)
    assert sections == [
        "summary",
        "tradeoffs",
        *searched,
        *["deploy", "variants", "verdicts", "refused", "facts", "reading"],
    ]
    assert len(page.ids) == len(set(page.ids))
    assert page.of("html")[0]["lang"] == "en"
    assert len(page.of("main")) == len(page.of("h1")) == len(page.of("title")) == 1


def test_links_and_labels_lead_to_something(page):
    for attrs in page.of("a"):
        assert attrs["href"].startswith("#")
        assert attrs["href"][1:] in page.ids
    for _, attrs in page.tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in page.ids


def test_nothing_is_loaded_from_anywhere(page):
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    style = page.data["style"]

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "http" not in policy
    for _, attrs in page.tags:
        assert not {"src", "srcset", "action", "background", "poster"} & attrs.keys()
        assert (attrs.get("href") or "#").startswith(("#", "data:,"))
        assert not [key for key in attrs if key.startswith("on")]
    assert not re.search(r"@import|url\(|https?:", style)
    assert not re.search(r"\bimport\(|fetch\(|XMLHttpRequest|https?:", page.data["script"])


@pytest.mark.parametrize("results", [sample.results, language.results], ids=["tensors", "language"])
def test_hostile_names_are_text_and_nothing_else(results):
    base = results("stand-in", meets=False)
    fine, hostile = Page(render(base)), Page(render(sample.hostile(base)))

    assert len(hostile.of("script")) == len(fine.of("script")) == 3
    assert hostile.of("img") == hostile.of("iframe") == []
    assert {name for name, _ in hostile.tags} == {name for name, _ in fine.tags}
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7 * 7 }}" in hostile.text
    for acting in ("\x1b", "\x00", "\u202e", "\u2028", "\udc80", "n" * 500):
        assert acting not in hostile.text
        assert acting not in hostile.data["charts"]


@pytest.mark.parametrize("results", [sample.results, language.results], ids=["tensors", "language"])
def test_hostile_names_in_the_charts_can_neither_end_the_script_nor_make_links(results):
    hostile = Page(render(sample.hostile(results(meets=False))))
    charts = json.loads(hostile.data["charts"])

    assert "<" not in hostile.data["charts"]
    for chart in charts.values():
        for point in chart["points"]:
            assert set(re.findall("<[^>]*>", point["label"] + point["hover"])) <= {"<b>", "</b>", "<br>"}
            assert "$" not in point["label"] + point["hover"]  # it would begin a formula


def test_the_first_screen_says_what_to_ship_why_and_what_failed():
    _, first, *_ = Page(render(sample.results())).text.split("Trade-offs")

    for part in (
        "The fastest of the 2 variants that meet every limit",
        "4 gates on it passed.",
        "2.79x",
        "baseline 1.15 ms",
        "intel-xeon-2c",
        "1.4.0",
        "2026-11-23 14:03 UTC",
        "onnxruntime-int8-dynamic speedup >= 2",
        "killed by SIGILL",
    ):
        assert part in first
    for outcome in Outcome:
        assert outcome.value in first


def test_a_stand_in_and_a_foreign_device_are_noticed():
    stand_in, foreign = (Page(render(sample.results(standing))).text for standing in ("stand-in", "foreign"))

    assert "stands in for Intel processors" in stand_in
    assert "This device is not of the target." in foreign
    assert "Ship openvino-int8" not in foreign


def test_every_verdict_is_there_with_its_evidence():
    results = sample.results()
    page = Page(render(results))
    details = [attrs for attrs in page.of("details") if attrs.get("class") == "verdict"]

    assert len(details) == len(results.gates)
    for number, (gate, attrs) in enumerate(zip(results.gates, details, strict=True), 1):
        verdict = gate.verdict
        assert attrs["id"] == f"verdict-{number}"
        assert ("open" in attrs) == (verdict.outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE))
        assert gate.test in page.text
        for line in (*verdict.lines(), *verdict.notes, verdict.spent, verdict.method):
            assert line in page.text


def test_notes_beyond_the_terminals_seven_lines_are_on_the_page():
    gate = sample.results().gates[4]
    notes = tuple(f"note number {i}" for i in range(12))
    many = msgspec.structs.replace(gate, verdict=msgspec.structs.replace(gate.verdict, notes=notes))
    text = Page(render(msgspec.structs.replace(sample.results(), gates=(many,)))).text

    assert [text.count(f"  {note}\n") for note in notes] == [1] * 12


def test_the_table_has_every_variant_and_every_refusal_its_reason(one):
    model = sample.results().models[0]

    for variant in model.variants:
        assert variant.name in one.text
    for refusal in model.refusals:
        assert refusal.recipe in one.text
        assert refusal.reason in one.text
    for number in ("1.15 ms", "1.14 … 1.17", "2.79x", "2.73 … 2.85", "2.31 MB", "118 ms", "97.67 … 98.99"):
        assert number in one.text
    heads = [attrs for attrs in one.of("th") if "aria-sort" in attrs]
    assert len(heads) == 10
    assert {attrs["aria-sort"] for attrs in heads} == {"none"}


def test_the_charts_have_the_intervals_the_front_the_choice_and_the_baseline(one):
    charts = json.loads(one.data["charts"])
    points = {point["label"]: point for point in charts["chart-1-latency"]["points"]}

    assert list(charts) == ["chart-1-latency", "chart-1-memory", "chart-1-size"]
    assert points["openvino-int8"]["x"] == pytest.approx([0.412, 0.404, 0.420])
    assert points["openvino-int8"]["y"] == pytest.approx([98.33, 97.67, 98.99])
    assert {name for name, point in points.items() if point["front"]} == {"openvino-int8", "openvino-fp32"}
    assert {name: point["role"] for name, point in points.items() if point["role"] != "variant"} == {
        "openvino-int8": "choice",
        "onnxruntime-fp32": "baseline",
    }
    assert "Not shown: openvino-bf16 (failed)." in one.text
    assert "99 % interval 404 … 420 µs" in points["openvino-int8"]["hover"]


def test_a_chart_without_figures_says_so():
    foreign = Page(render(sample.results("foreign")))

    assert "No chart: no variant has a measured latency." in foreign.text
    assert list(json.loads(foreign.data["charts"])) == ["chart-1-size"]


def test_costs_that_differ_much_get_a_logarithmic_axis():
    base = sample.results()
    model = base.models[0]
    slow = model.variants[4]
    ages = Figure(estimate=9.0, low=8.9, high=9.1, unit="s", confidence=0.99, n=50, method="order statistics")
    changed = msgspec.structs.replace(slow, figures=slow.figures | {"latency.p50": ages})
    variants = tuple(changed if v is slow else v for v in model.variants)
    page = Page(render(msgspec.structs.replace(base, models=(msgspec.structs.replace(model, variants=variants),))))

    charts = json.loads(page.data["charts"])

    assert [chart["x"]["log"] for chart in charts.values()] == [True, False, False]
    assert charts["chart-1-latency"]["x"]["title"] == "Latency (p50) (s)"


def test_colors_follow_the_targets_order_of_frameworks_whatever_was_built(one):
    points = json.loads(one.data["charts"])["chart-1-size"]["points"]

    assert {point["label"].partition("-")[0]: point["series"] for point in points} == {"openvino": 0, "onnxruntime": 1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_break_neither_file(tmp_path, bad):
    base = sample.results()
    model = base.models[0]
    broken = Figure(estimate=bad, low=bad, high=bad, unit="s", confidence=0.99, n=1, method="none")
    half = Figure(estimate=0.9, low=-bad, high=bad, unit="proportion", confidence=0.99, n=1, method="none")
    variant = msgspec.structs.replace(
        model.variants[1], figures=model.variants[1].figures | {"latency.p50": broken, "accuracy": half}
    )
    gate = base.gates[0]
    verdict = msgspec.structs.replace(gate.verdict, estimate=bad, low=bad, high=-bad)
    results = msgspec.structs.replace(
        base,
        seconds=bad,
        models=(msgspec.structs.replace(model, variants=(model.variants[0], variant)),),
        gates=(msgspec.structs.replace(gate, verdict=verdict),),
    )

    page = Page(write(results, tmp_path).read_text("utf-8"))
    data = json.loads((tmp_path / "results.json").read_text("utf-8"))

    json.loads(page.data["charts"], parse_constant=pytest.fail)
    assert data["models"][0]["variants"][1]["figures"]["latency.p50"]["estimate"] is None
    assert "openvino-int8 (without latency)" in page.text


@pytest.mark.parametrize("run", RUNS)
def test_equal_results_make_equal_pages(run):
    again = msgspec.convert(msgspec.to_builtins(RUNS[run]), Results)

    assert render(RUNS[run]) == render(again)


@pytest.mark.parametrize("run", [run for run in RUNS if "hostile" not in run])
def test_the_data_reads_back_as_it_was(run, tmp_path):
    write(RUNS[run], tmp_path)
    data = (tmp_path / "results.json").read_bytes()

    assert msgspec.json.decode(data, type=Results) == RUNS[run]
    assert data.endswith(b"}\n")
    assert data.startswith(b'{\n  "schema": 1,\n  "tool": "0.1.0",\n')


def test_hostile_data_reads_back_but_for_what_is_not_unicode():
    results = sample.hostile()
    back = msgspec.json.decode(encode(results), type=Results)

    assert back.models[0].variants[1].name == results.models[0].variants[1].name
    assert "\\udc80 not UTF-8" in _texts(msgspec.to_builtins(back))


def _texts(value):
    """Every text in plain data."""
    match value:
        case str():
            return {value}
        case dict():
            return set().union(*map(_texts, value.values()))
        case list() | tuple():
            return set().union(*map(_texts, value))
        case _:
            return set()


def test_both_files_appear_whole_and_replace_what_was_there(tmp_path):
    folder = tmp_path / "reports" / "latest"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("old")

    page = write(sample.results(), folder)

    assert page == folder / "index.html"
    assert page.read_text("utf-8") == render(sample.results())
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    write(sample.empty(), tmp_path)
    before = (tmp_path / "results.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(sample.results(), tmp_path)

    assert (tmp_path / "results.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_a_page_is_small_and_a_huge_runs_page_is_bounded():
    page = render(sample.results())
    huge = render(sample.crowd(60, gate_count=10_000))

    assert len(page.encode()) < 2.5e6
    assert len(huge.encode()) < 5e6
    parsed = Page(huge)
    shown = [attrs["data-outcome"] for attrs in parsed.of("details") if attrs.get("class") == "verdict"]
    assert len(shown) == 2000
    assert set(shown) == {"fail", "error"}
    assert "8000 further verdicts" in parsed.text
    assert "and 992 more FAIL below" in re.sub(r"\s+", " ", parsed.text)


def test_the_command_and_the_split_are_there_to_do_it_again(one):
    results = sample.results()

    assert results.command in one.text
    assert "180 items for calibration, 360 items for selection, 720 items for confirmation" in one.text
    for name, version in results.versions.items():
        assert f"{name} {version}" in one.text


def test_the_page_says_at_what_confidence_its_intervals_hold(one):
    assert "at 95 % to 99 % confidence on each side" in one.text
    assert "hold at 99 % confidence, both sides together" in one.text


def test_words_stand_beside_colors(one):
    assert one.text.count("✓ PASS") == 9
    assert "✗ failed" in one.text


def test_the_source_escapes_what_the_text_shows():
    source = render(sample.hostile())

    assert html.escape("<script>alert(1)</script>", quote=False) in source
    assert "<script>alert" not in source


def test_the_first_screen_has_the_intervals_of_the_choice_in_numbers(one):
    summary = one.text[: one.text.index("Trade-offs", one.text.index("Speed-up"))]

    assert "2.73 … 2.85x" in summary


def test_a_claim_that_its_test_tolerated_is_told_and_does_not_ask_for_attention():
    results = sample.results()
    gates = tuple(
        msgspec.structs.replace(gate, tolerated=gate.verdict.outcome is Outcome.FAIL) for gate in results.gates
    )
    count = sum(gate.tolerated for gate in gates)
    assert count > 0

    before, after = (Page(render(one)).text for one in (results, msgspec.structs.replace(results, gates=gates)))

    assert f"{count} FAIL in " in after
    assert "passed all the same" not in before
    assert after.count("its test passed") == count
    assert "Do not ship" not in after


def test_the_way_to_the_choice_is_told_stage_by_stage():
    page = Page(render(sample.searched()))
    text = re.sub(r"\s+", "", page.text)

    assert "Conversionopenvino-fp321.32x1.3…1.34" in text
    assert "Productionvalidation" in text
    (steps,) = [chart["steps"] for chart in json.loads(page.data["charts"]).values() if "steps" in chart]
    assert [step["label"] for step in steps] == ["Baseline", "Conversion", "Quantization", "Shipped"]
    assert [step["to"] for step in steps] == pytest.approx(
        [1.153, 1.153 / 1.32, 1.153 / 1.32 / 2.11, 1.153 / 1.32 / 2.11]
    )


def test_the_stages_of_a_device_that_can_not_show_speed_are_told_by_size():
    base = sample.searched()
    stages = [
        msgspec.structs.replace(one, speedup=None, figures={"size": one.figures["size"]})
        for one in base.models[0].progression
    ]
    model = msgspec.structs.replace(base.models[0], progression=tuple(stages))

    page = Page(render(msgspec.structs.replace(base, models=(model,))))

    assert "Size, stage by stage" in page.text
    assert "Speed was not measured, so it is the size." in page.text


def test_a_search_is_told_with_every_trial_and_what_ended_it():
    text = re.sub(r"\s+", " ", Page(render(sample.searched())).text)

    assert "3 of 240 recipes were tried, 1 of them by an earlier search; it ended with 3 trials." in text
    assert "openvino-int8-pruned20@threads=1cut" in text
    assert "shown at 99 % by 360 items" in text
    assert "NNCF found nothing." in text
