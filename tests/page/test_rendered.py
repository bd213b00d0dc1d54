"""The plan's page in a real browser: nothing overlaps or sticks out, nothing is fetched, dark is dark, paper is light.

`make page-test` runs these and leaves the pictures in .cache/page; elsewhere they are skipped.
"""

import os
from pathlib import Path

import pytest
from browser import browser_page
from plan_pages import answered, question

from pertoken.capacity.document import answer_document
from pertoken.capacity.report.page import html_page

PROGRAM = os.environ.get("PERTOKEN_CHROMIUM", "")
PICTURES = Path(".cache/page")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="make page-test runs these")
VIEWS = [(400, "light"), (400, "dark"), (800, "light"), (1400, "light"), (1400, "dark")]
# What sticks out to the right, and neighbours whose boxes overlap.
CROWDED = """(() => {
  const wrong = [], box = e => e.getBoundingClientRect(), shown = e => box(e).width > 0 && box(e).height > 0;
  const told = e => e.tagName + "." + (e.getAttribute("class") || "") + " " + e.textContent.slice(0, 30);
  for (const e of document.querySelectorAll("body *"))
    if (shown(e) && box(e).right > innerWidth + 1) wrong.push("sticks out: " + told(e));
  for (const e of document.querySelectorAll(".values, .times, .keys, .tiles, tr, .facts, .bars li, section, article")) {
    const inner = [...e.children].filter(shown);
    inner.forEach((a, i) => inner.slice(i + 1).forEach(b => {
      const p = box(a), q = box(b);
      if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
          && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1)
        wrong.push("overlap: " + told(a) + " | " + told(b)) })) }
  return wrong })()"""
SMALLEST = """Math.min(...[...document.querySelectorAll("body *")]
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(e => parseFloat(getComputedStyle(e).fontSize)))"""
BRIGHTNESS = """(() => { const read = n => getComputedStyle(document.body)[n].match(/[0-9.]+/g).slice(0, 3).map(Number);
  return ["backgroundColor", "color"].map(n => read(n).reduce((a, b) => a + b) / 765) })()"""


@pytest.fixture(scope="module")
def page():
    whole = answered(question())
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = (PICTURES / "plan.html").absolute()
    file.write_text(html_page(whole, answer_document(whole)), encoding="utf-8")
    return file


def keep(name, content):
    (PICTURES / name).write_bytes(content)


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
async def test_it_reads_well_at_every_width_and_scheme(page, tmp_path, width, scheme):
    async with browser_page(PROGRAM, tmp_path) as view:
        await view.open(page, width, scheme)
        keep(f"plan-{width}-{scheme}.png", await view.picture())

        assert await view.evaluate(CROWDED) == []
        assert await view.evaluate(SMALLEST) >= 11
        back, ink = await view.evaluate(BRIGHTNESS)
        assert (ink - back if scheme == "dark" else back - ink) > 0.7
        assert view.requested == [page.as_uri()]


async def test_paper_is_light_and_shows_what_is_folded(page, tmp_path):
    async with browser_page(PROGRAM, tmp_path) as view:
        await view.open(page, 1000, "dark")
        keep("plan.pdf", await view.printed())
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        await view.call("Emulation.setEmulatedMedia", media="print", features=features)

        back, ink = await view.evaluate(BRIGHTNESS)
        assert back - ink > 0.7
        assert await view.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 50
