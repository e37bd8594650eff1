"""A page as a person sees it: in a browser, at three widths, in both colour schemes and on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaft.report.page import EACH, TOGETHER, render
from tests.report.browser import browser, found
from tests.report.runs import OTHER, RICH

WIDTHS = {"phone": (390, 844), "laptop": (1366, 768), "desk": (1920, 1080)}
# The least contrast of the page's words with what is behind them, the darkest or lightest ancestor that has a colour.
CONTRAST = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const bend = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const lum = c => { const [r, g, b] = c.slice(0, 3).map(bend);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  let least = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const words = [...e.childNodes].filter(n => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const front = parse(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [lum(front), lum(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 120)];
  }
  return least;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if found() is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("browser")
    try:
        with browser(folder) as shown:
            yield shown
    except (OSError, EOFError, TimeoutError) as error:
        pytest.skip(f"Chromium does not start: {error}")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render([RICH], "a & b"))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_whole_at_every_width_and_in_every_scheme(page, file, width, scheme):
    page.open(file, *WIDTHS[width], scheme)
    assert page.complaints == []
    assert page.run("document.documentElement.scrollWidth") <= WIDTHS[width][0], "nothing sticks out"
    sizes = page.run("[...document.querySelectorAll('svg')].map(s => [s.clientWidth, s.clientHeight])")
    assert len(sizes) == 11
    assert all(w > 300 and h > 30 for w, h in sizes)
    titles = page.run("[...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert titles == [name for name, _ in (*TOGETHER, *EACH)]
    least, where = page.run(CONTRAST)
    assert least >= 4.5, where


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_scheme_is_that_of_the_system(page, file, scheme):
    page.open(file, 1366, 768, scheme)
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_the_first_screen_of_a_laptop_answers_four_questions(page, file):
    page.open(file, 1366, 768, "light")
    bottom = page.run("Math.max(...[...document.querySelectorAll('.card')].map(c => c.getBoundingClientRect().bottom))")
    assert page.run("document.querySelectorAll('.card').length") == 4
    assert bottom <= 768


def test_tables_sort_by_mouse_and_by_keyboard(page, file):
    page.open(file, 1366, 768, "light")
    column = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[2].firstChild.textContent)"
    head = "document.querySelector('table').tHead.rows[0].cells[2]"
    page.run(f"{head}.querySelector('button').click()")
    down = [float(words) for words in page.run(column)]
    assert down == sorted(down, reverse=True)
    assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
    page.run(f"{head}.querySelector('button').focus()")
    page.press("Enter", 13)
    assert [float(words) for words in page.run(column)] == down[::-1]
    names = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[0].textContent)"
    page.run("document.querySelector('table').tHead.rows[0].cells[0].querySelector('button').click()")
    assert page.run(names) == sorted(RICH.results["methods"])


def test_all_that_does_something_is_reached_by_tab(page, file):
    page.open(file, 1366, 768, "light")
    page.press("Tab", 9)
    assert page.run("document.activeElement.className") == "skip"
    inside = "[...document.querySelectorAll('a, button, summary, [tabindex]')].filter(e => e.checkVisibility())"
    reached = []
    for _ in range(page.run(f"{inside}.length") - 1):
        page.press("Tab", 9)
        reached.append(page.run("document.activeElement.tagName"))
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "one sees where one is"
    assert set(reached) == {"A", "BUTTON", "SUMMARY", "DIV"}


def test_pointing_at_a_mark_names_it(page, file):
    page.open(file, 1366, 768, "light")
    place = page.run(
        "(() => { const m = document.querySelector('svg path.mark'); m.scrollIntoView({block: 'center'});"
        "const r = m.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    page("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    told = page.run("[document.querySelector('#tip').hidden, document.querySelector('#tip').textContent]")
    assert told[0] is False
    assert "ID " in told[1]
    assert "OOD " in told[1]


def test_without_scripts_it_is_whole_too(page, file):
    page("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(file, 1366, 768, "light")
        assert page.run("document.querySelectorAll('svg').length") == 11
        assert page.run("document.querySelectorAll('th button').length") == 0
        assert page.run("document.querySelector('svg path.mark title').textContent").startswith("wise_ft, alpha 0")
    finally:
        page("Emulation.setScriptExecutionDisabled", value=False)


def test_on_paper_it_is_light_and_unfolded(page, file):
    page.open(file, 1366, 768, "dark")
    page("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.run("[...document.querySelectorAll('details')].every(d => d.open)")
    page.run("dispatchEvent(new Event('afterprint'))")
    assert not page.run("[...document.querySelectorAll('details')].some(d => d.open)")
    page("Emulation.setEmulatedMedia", media="")


def test_several_runs(page, tmp_path):
    (tmp_path / "several.html").write_text(render([RICH, OTHER, replace(OTHER, name="third")], "several"))
    page.open(tmp_path / "several.html", 390, 844, "dark")
    assert page.complaints == []
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run(CONTRAST)[0] >= 4.5
