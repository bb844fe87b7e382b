"""What people see of a language model."""

import json
import re

import msgspec
import pytest

from pytest_edgeai.records import Results
from pytest_edgeai.report import render, summary
from pytest_edgeai.report.charts import fronts
from pytest_edgeai.report.roles import badges, baseline_of, reference_of
from tests.report import language, sample
from tests.report.test_page import Page

ROWS = {row.name: row for row in language.ROWS}


@pytest.fixture(scope="module")
def page():
    return Page(render(language.results()))


def charts_of(page):
    return json.loads(page.data["charts"])


def changed(**fields) -> Results:
    """The sample with other facts about its model."""
    base = language.results()
    return msgspec.structs.replace(base, models=(msgspec.structs.replace(base.models[0], **fields),))


def without(*names: str) -> Results:
    """The sample without these figures."""
    variants = tuple(
        msgspec.structs.replace(v, figures={name: f for name, f in v.figures.items() if name not in names})
        for v in language.model().variants
    )
    return changed(variants=variants)


def heads(source: str) -> list[str]:
    table = source[source.index('<table class="sortable') :]
    return re.findall(r'<button type="button">([^<]*)</button>', table[: table.index("</thead>")])


def cells(source: str, variant: str) -> list[str]:
    """The numbers of its row, each with what stands below it."""
    table = source[source.index('<table class="sortable') :]
    row = table[table.index(f"</svg> {variant}") :]
    found = re.findall(r'<td class="number[^>]*>(.*?)</td>', row[: row.index("</tr>")])
    return [re.sub("<[^>]*>", " ", cell).strip() for cell in found]


# The table -------------------------------------------------------------------------------------------------------------------


def test_the_table_goes_from_quality_over_speed_to_what_it_takes():
    assert heads(render(language.results())) == [
        "Variant",
        "Perplexity",
        "KL divergence (nats)",
        "Agreement",
        "Accuracy",
        "Decode (tokens/s)",
        "Decode speed-up",
        "TTFT p50",
        "TPOT p50",
        "Own memory",
        "Size",
        "Cold start",
        "On the front",
    ]


def test_a_unit_in_a_head_is_not_said_again_below_it():
    row = cells(render(language.results()), language.CHOICE)

    assert row[1] == "0.0168 0.0157 … 0.018"
    assert row[4] == "2514 2484 … 2544"


def test_the_95th_percentile_stands_below_the_median_time_of_a_token():
    assert cells(render(language.results()), language.CHOICE)[7] == "398 µs p95 434 µs"


def test_what_was_not_measured_of_any_variant_has_no_column():
    assert heads(render(language.results("foreign"))) == [
        "Variant",
        "Perplexity",
        "KL divergence (nats)",
        "Agreement",
        "Accuracy",
        "Size",
        "On the front",
    ]


def test_bits_a_byte_have_a_column_where_there_is_no_perplexity():
    assert heads(render(without("perplexity")))[-2:] == ["bits_per_byte", "On the front"]


def test_each_model_of_a_run_has_the_columns_of_its_kind():
    source = render(language.beside_tensors())
    first, second = (source[place:] for place in [m.start() for m in re.finditer('<table class="sortable', source)])

    assert heads(first)[1:5] == ["Accuracy", "Size", "Latency p50", "Latency p95"]
    assert heads(second)[1:3] == ["Perplexity", "KL divergence (nats)"]


# Roles -----------------------------------------------------------------------------------------------------------------------


def test_each_engine_has_its_baseline_and_one_of_them_is_the_reference():
    model = language.model()

    found = {variant.name: badges(model, variant) for variant in model.variants if badges(model, variant)}

    assert found == {
        "openvino-fp32": ("baseline", "reference"),
        "llamacpp-f16": ("baseline",),
        "mlx-fp16": ("baseline",),
        "llamacpp-q4_k_m": ("choice",),
    }


def test_the_reference_is_the_one_that_is_named_else_the_first_baseline():
    named = changed(reference="mlx-fp16").models[0]
    nameless = changed(reference="").models[0]

    assert reference_of(named).name == "mlx-fp16"
    assert reference_of(nameless).name == "openvino-fp32"


def test_a_reference_is_called_so_where_no_other_baseline_is_shown():
    only = changed(
        variants=tuple(one for one in language.model().variants if one.name in ("openvino-fp32", "llamacpp-q4_k_m"))
    )

    assert badges(only.models[0], only.models[0].variants[0])[-1] == "reference"


def test_a_single_baseline_is_no_reference_beside():
    model = sample.results().models[0]

    assert badges(model, model.variants[0]) == ("baseline",)


def test_a_variant_is_compared_with_the_baseline_of_its_engine():
    model = language.model()
    of = {variant.name: baseline_of(model, variant).name for variant in model.variants}

    assert (of["llamacpp-q8_0"], of["mlx-int8"], of["openvino-int4"]) == ("llamacpp-f16", "mlx-fp16", "openvino-fp32")
    assert of["olive-int4"] == "openvino-fp32"  # which has none of its own


def test_the_tiles_compare_speed_with_the_engines_baseline_and_quality_with_the_reference(page):
    tiles = re.sub(r"\s+", " ", page.text[page.text.index("Decode speed-up") : page.text.index("What failed")])

    assert "Decode speed-up2.09x2.03 … 2.15xover llamacpp-f16" in tiles
    assert "Decode (tokens/s)25142484 … 2544baseline 1204" in tiles
    assert "First token (p50)29.8 ms29.2 … 30.4 msbaseline 31.7 ms" in tiles
    assert "Perplexity14.5113.89 … 15.13reference 14.22" in tiles
    assert "KL divergence (nats)0.01680.0157 … 0.018reference 0" in tiles


# The charts ------------------------------------------------------------------------------------------------------------------


def test_perplexity_is_drawn_against_speed_footprint_and_size(page):
    charts = charts_of(page)

    assert {key: (chart["x"]["title"], chart["x"]["more"]) for key, chart in charts.items()} == {
        "chart-1-speed": ("Decode speed (tokens/s)", True),
        "chart-1-memory": ("Own memory footprint (MB)", False),
        "chart-1-size": ("Size (MB)", False),
    }
    assert {(chart["y"]["title"], chart["y"]["more"]) for chart in charts.values()} == {("Perplexity", False)}
    for title in ("decode speed", "own memory footprint", "size"):
        assert f"Perplexity against {title}" in page.text


def test_less_perplexity_and_more_speed_make_the_front():
    on_speed = {name for name, keys in fronts(language.model()).items() if "speed" in keys}

    assert on_speed == {"openvino-fp32", "llamacpp-f16", "llamacpp-q8_0", "llamacpp-q6_k", "llamacpp-q4_k_m"}
    for name in ROWS.keys() - on_speed:
        row = ROWS[name]
        assert any(ROWS[one].perplexity < row.perplexity and ROWS[one].decode > row.decode for one in on_speed)


def test_the_intervals_of_a_text_that_all_variants_share_are_not_drawn(page):
    points = {point["label"]: point for point in charts_of(page)["chart-1-speed"]["points"]}

    assert points[language.CHOICE]["y"] == [14.512] * 3
    assert points[language.CHOICE]["x"] == pytest.approx([2514, 2483.832, 2544.168])
    assert "perplexity 14.51 (95 % interval 13.89 … 15.13)" in points[language.CHOICE]["hover"]
    assert "those of perplexity are in the table alone" in page.text


def test_the_reference_and_the_baselines_are_named_in_the_charts(page):
    points = charts_of(page)["chart-1-size"]["points"]

    assert {point["label"]: point["note"] for point in points if point["note"]} == {
        "openvino-fp32": "(reference)",
        "llamacpp-f16": "(baseline)",
        "mlx-fp16": "(baseline)",
        "llamacpp-q4_k_m": "(choice)",
    }


@pytest.mark.parametrize(
    ("missing", "title", "more"),
    [(("perplexity",), "Bits per byte", False), (("perplexity", "bits_per_byte"), "Accuracy (%)", True)],
)
def test_another_quality_is_drawn_where_there_is_no_perplexity(missing, title, more):
    axis = charts_of(Page(render(without(*missing))))["chart-1-speed"]["y"]

    assert (axis["title"].partition(" (bits")[0], axis["more"]) == (title, more)


@pytest.mark.parametrize(
    ("quality", "worst", "log"), [("perplexity", 3000.0, True), ("accuracy", 0.001, False)], ids=["perplexity", "share"]
)
def test_a_variant_that_lost_its_mind_makes_the_axis_of_perplexity_logarithmic(quality, worst, log):
    base = (language.results() if quality == "perplexity" else without("perplexity", "bits_per_byte")).models[0]
    lost = base.variants[-2]
    figure = msgspec.structs.replace(lost.figures[quality], estimate=worst)
    variants = tuple(
        msgspec.structs.replace(v, figures=v.figures | {quality: figure}) if v is lost else v for v in base.variants
    )

    axis = charts_of(Page(render(changed(variants=variants))))["chart-1-speed"]["y"]

    assert axis["log"] is log


def test_what_was_scored_but_not_timed_is_drawn_against_size_and_the_rest_says_why_not():
    foreign = Page(render(language.results("foreign")))
    text = re.sub(r"\s+", " ", foreign.text)

    assert list(charts_of(foreign)) == ["chart-1-size"]
    why = "intel-xeon-2c is no device of Intel processors, where speed and memory are measured."
    assert f"No chart: no variant has a measured decode speed. {why}" in text
    assert f"No chart: no variant has a measured memory. {why}" in text
    assert "Do not ship mlx-int4-g64 yet: 1 gate on it failed" in text


def test_an_engine_that_was_not_timed_is_named_below_the_chart():
    variants = tuple(
        msgspec.structs.replace(v, figures={n: f for n, f in v.figures.items() if n in language.ANYWHERE})
        if v.framework == "mlx"
        else v
        for v in language.model().variants
    )

    text = Page(render(changed(variants=variants))).text

    assert "Not shown: mlx-fp16, mlx-int8, mlx-int4-g64 (without decode speed); olive-int4 (failed)." in text


# Verdicts and facts ----------------------------------------------------------------------------------------------------------


def test_a_verdict_says_what_was_asked_in_its_own_words(page):
    for asked in (
        "perplexity <= 1.05 * openvino-fp32 perplexity",
        "kl_divergence <= 0.1 nats",
        "decode.speedup >= 2",
        "decode.throughput >= 500 tokens/s",
        "ttft.p95 <= 200 ms",
    ):
        assert f"Asked{asked}" in page.text


def test_a_ratio_beyond_its_limit_does_not_look_equal_to_it(page):
    assert "measured 1.057 (95 % bound 1.051 .. 1.063" in page.text


def test_the_strips_shade_the_side_on_which_the_claim_holds():
    source = render(language.results())
    found = re.findall(r'class="holds" x="([\d.]+)".*?width="([\d.]+)".*?class="limit" d="M([\d.]+)', source, re.DOTALL)

    at_most = [(float(x), float(width), float(limit)) for x, width, limit in found if float(x) == 0]
    at_least = [(float(x), float(width), float(limit)) for x, width, limit in found if float(x) > 0]
    assert len(at_most) == 5
    assert all(width == pytest.approx(limit) for _, width, limit in at_most)
    assert len(at_least) == 2
    assert all(x == limit and x + width == pytest.approx(100) for x, width, limit in at_least)


def test_the_facts_are_those_of_a_language_model(page):
    facts = page.text[page.text.index("Model tiny_lm") : page.text.index("Device intel-xeon-2c")]

    for fact in (
        "llama, 8 layers of 256 numbers, 8 heads, which share 4 of keys and values",
        "4,096 tokens, whose embeddings make the logits, too; tokenizer: BPE",
        "1,024 tokens",
        "bfloat16",
        "selection 200, confirmation 400",
    ):
        assert fact in facts
    for absent in ("Opset", "Operators", "Inputs", "multiply-accumulates"):
        assert absent not in facts


def test_the_words_of_the_table_are_explained_where_there_is_a_language_model(page):
    assert "TTFT is the time to the first token" in page.text
    assert "TTFT" not in Page(render(sample.results())).text


def test_nothing_is_said_of_items(page):
    assert not re.search(r"\bitems?\b", page.text)


# The terminal ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, "accuracy KL (nats) tokens/s speed-up perplexity"),
        (120, "size own memory TTFT accuracy KL (nats) tokens/s speed-up perplexity"),
        (160, "cold start TPOT p95 agreement size own memory TTFT accuracy KL (nats) tokens/s speed-up perplexity"),
    ],
)
def test_a_wider_terminal_shows_more(width, columns):
    (_, head), (_, first), *_ = summary(language.results(), width)

    assert " ".join(head.split()) == f"variant {columns}"
    assert first.startswith("  openvino-fp32 (reference) ")


def test_the_terminal_has_the_numbers_below_their_heads():
    lines = [text for _, text in summary(language.results(), 80, ascii_only=True)]
    choice = next(line for line in lines if line.startswith("* llamacpp-q4_k_m"))

    for column, number in (
        ("KL (nats)", "0.0168"),
        ("tokens/s", "2514"),
        ("speed-up", "2.09x"),
        ("perplexity", "14.51"),
    ):
        assert choice[: lines[0].index(column) + len(column)].endswith(f" {number}")
