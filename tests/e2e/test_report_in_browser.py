"""The report in a real browser, with its policy in force."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from pytest_edgeai.report import render, write
from tests.report import language, sample

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")

PROBE = """<script>
const wait = setInterval(() => {
  if (document.documentElement.dataset.ready) { clearInterval(wait); %s }
}, 50);
</script>"""


@pytest.fixture
def opened(tmp_path):
    """The document that the browser makes of a page."""

    def open_page(source: str, *flags: str) -> str:
        path = tmp_path / "page.html"
        path.write_text(source, "utf-8", "backslashreplace")
        found = subprocess.run(
            [
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
                "--virtual-time-budget=5000", "--enable-logging=stderr", *flags, "--dump-dom", path.as_uri(),
            ],
            capture_output=True, timeout=120, check=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert "CONSOLE" not in found.stderr, found.stderr
        return found.stdout

    return open_page


def probing(source: str, script: str) -> str:
    """The page without its policy, and with a script of the test's that runs when all is drawn."""
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    return source.replace("</body>", PROBE % script + "</body>")


def attributes(document: str) -> str:
    return re.search("<html[^>]*>", document)[0]


@pytest.mark.parametrize(
    ("run", "charts"),
    [
        (sample.results(), 3),
        (sample.results("foreign"), 1),
        (sample.several(), 7),
        (sample.crowd(40), 3),
        (sample.hostile(), 3),
        (sample.empty(), 0),
        (language.results(), 3),
        (language.results("foreign"), 1),
        (sample.hostile(language.results()), 3),
        (sample.searched(), 4),
        (sample.hostile(sample.searched()), 4),
    ],
    ids=[
        "one model",
        "foreign",
        "several",
        "crowd",
        "hostile",
        "empty",
        "language",
        "language foreign",
        "language hostile",
        "searched",
        "searched hostile",
    ],
)
def test_every_chart_is_drawn_and_no_script_fails(opened, run, charts):
    document = opened(render(run))

    assert 'data-ready="true"' in attributes(document)
    assert "data-error" not in attributes(document)
    assert document.count('class="chart js-plotly-plot"') == charts
    assert document.count('class="main-svg"') >= charts
    assert document.count('class="points"') >= charts
    assert "needs a current browser" not in document


def test_the_charts_show_the_front_the_intervals_and_the_names(opened, tmp_path):
    document = opened(write(sample.results(), tmp_path / "report").read_text("utf-8"))
    names = "".join(re.findall(r'<text class="annotation-text"[^>]*>(.*?)</text>', document, re.DOTALL))

    assert document.count('class="js-line"') == 3
    assert document.count('class="yerror"') == 15
    assert names.count("(choice)") == names.count("(baseline)") == 3


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_charts_follow_the_color_scheme(opened, scheme):
    document = opened(render(sample.results()), f"--blink-settings=preferredColorScheme={scheme}")

    assert ("fill: rgb(109, 179, 242)" in document) == (scheme == 0)
    assert ("fill: rgb(11, 98, 168)" in document) == (scheme == 1)


def test_hostile_names_make_no_links_and_run_nothing(opened):
    document = opened(render(sample.hostile()))

    assert "evil.example" in document
    tags: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))
    parser.feed(document)
    links = [value for _, attrs in tags for key, value in attrs.items() if key in ("href", "xlink:href", "src")]
    assert {link.partition("#")[0] for link in links} == {"", "data:,"}
    assert not {"img", "image", "iframe"} & {tag for tag, _ in tags}
    assert not [key for _, attrs in tags for key in attrs if key.startswith("on")]


def test_the_policy_stops_a_script_that_is_not_ours(tmp_path, opened):
    stranger = "<script>document.documentElement.dataset.stranger = 'ran'</script></body>"
    source = render(sample.empty()).replace("</body>", stranger)

    with pytest.raises(AssertionError, match="Content Security Policy"):
        opened(source)


def test_a_click_sorts_the_variants_and_keeps_what_is_missing_last(opened):
    click = "document.querySelectorAll('.variants th button')[3].click();"
    orders = []
    for clicks in (1, 2):
        document = opened(probing(render(sample.results()), click * clicks))
        table = document[document.index('<table class="sortable') :]
        assert re.findall('aria-sort="([a-z]+)"', table)[3] == ("ascending", "descending")[clicks - 1]
        orders.append(re.findall(r'<th scope="row">.*?</svg> ([\w-]+)', table[: table.index("</table>")]))

    rising = [
        "openvino-int8",
        "onnxruntime-int8-static",
        "openvino-fp32",
        "onnxruntime-fp32",
        "onnxruntime-int8-dynamic",
    ]
    assert orders == [[*rising, "openvino-bf16"], [*rising[::-1], "openvino-bf16"]]


def test_verdicts_can_be_filtered_and_a_link_opens_the_one_it_leads_to(opened):
    filtered = opened(probing(render(sample.results()), "document.querySelector('[data-show=fail]').click();"))
    linked = opened(probing(render(sample.results()), "location.hash = '#verdict-1';"))

    hidden = [" hidden" in tag for tag in re.findall(r'<details class="verdict"[^>]*>', filtered)]
    assert hidden.count(False) == 1
    assert re.search(r'<details class="verdict" id="verdict-1"[^>]* open', linked)


def test_less_perplexity_is_further_up_and_more_speed_further_right(opened):
    ranges = "['speed', 'size'].map((key) => document.getElementById(`chart-1-${key}`)._fullLayout)"
    document = opened(
        probing(
            render(language.results()),
            f"document.documentElement.dataset.ranges = JSON.stringify({ranges}.map((l) => [l.xaxis.range, l.yaxis.range, l.xaxis.title.text]));",
        )
    )

    found = json.loads(html.unescape(re.search('data-ranges="([^"]*)"', document)[1]))
    for (left, right), (low, high), _ in found:
        assert left < right
        assert low > 15.0291
        assert high < 14.2183
    assert [title for *_, title in found] == ["Decode speed (tokens/s) →", "← Size (MB)"]
