"""A tab that lets nothing pass, and what its viewer shows beside what NumPy computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from abet.labels import ID, OOD
from abet.report.runs import load_run

PATIENCE_MILLISECONDS = 120_000  # a busy machine is no failure


@contextmanager
def watched(browser, page: Path, *, width: int = 1280, height: int = 900, before: str = "") -> Iterator:
    """A tab with the page, after the script ``before``; whatever it says on the console or asks of anybody fails.

    Tests share one tab, and each finds the page as it was written: a load in a new tab, with its new processes, takes
    four times as long. Only a test that fails closes it.
    """
    tab = browser.contexts[0].pages[0] if browser.contexts else browser.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    listeners = {
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
        "request": lambda request: requests.append(request.url),
    }
    try:
        tab.set_default_timeout(PATIENCE_MILLISECONDS)
        tab.set_viewport_size({"width": width, "height": height})
        tab.emulate_media(media="null")
        for event, listener in listeners.items():
            tab.on(event, listener)
        with scripted(tab, before):
            tab.goto(page.as_uri())
        yield tab
        assert not complaints, complaints
        assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [page.as_uri()], "asks nobody"
        for event, listener in listeners.items():
            tab.remove_listener(event, listener)
        tab.mouse.move(0, 0)
        tab.goto("about:blank")
    except BaseException:
        tab.close()
        raise


@contextmanager
def scripted(tab, script: str) -> Iterator[None]:
    """Run ``script`` ahead of those of a page that is loaded meanwhile; the tab's later pages are without it."""
    session = tab.context.new_cdp_session(tab)
    session.send("Page.enable")
    added = session.send("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    yield
    session.send("Page.removeScriptToEvaluateOnNewDocument", added)
    session.detach()


def resized(tab, width: int) -> None:
    """Change the width of the tab, and wait until every plot in sight is as wide as its place."""
    tab.set_viewport_size({"width": width, "height": tab.viewport_size["height"]})
    tab.wait_for_function(
        """(width) => innerWidth === width && [...document.querySelectorAll(".plot")].every(
          (plot) => !plot.clientWidth || plot._fullLayout?.width === plot.clientWidth)""",
        arg=width,
    )


@contextmanager
def opened(browser, page: Path, **options) -> Iterator:
    """A tab with the page by `watched`, its viewer in sight."""
    with watched(browser, page, **options) as tab:
        tab.locator(".viewer").first.scroll_into_view_if_needed()
        tab.wait_for_selector(".viewer[data-shown]")
        yield tab


COUNT = """() => {
  const canvas = document.querySelector('[data-side="a"] [data-part="mask"]');
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  const counts = {};
  for (let place = 0; place < pixels.length; place += 4)
    if (pixels[place + 3]) {
      const colour = [pixels[place], pixels[place + 1], pixels[place + 2]].join();
      counts[colour] = (counts[colour] || 0) + 1;
    }
  return counts;
}"""
MOVE = """(slider, to) => {
  slider.value = to;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
}"""
PAINT = {
    "hit": ["0,158,115"],
    "false": ["213,94,0", "90,30,0"],
    "missed": ["86,180,233", "0,60,110"],
    "void": ["153,153,153"],
}


def painted(tab) -> dict[str, int]:
    counts = tab.evaluate(COUNT)
    found = {kind: sum(counts.pop(colour, 0) for colour in colours) for kind, colours in PAINT.items()}
    assert counts == {}, "no other colour"
    return found


def by_hand(run: Path, name: str, score: str, threshold: float) -> dict[str, int]:
    sample = load_run(run).datasets["road_anomaly"].sample(name)
    flagged = sample.scores[score] >= np.float32(threshold)
    ood, known = sample.label == OOD, np.isin(sample.label, (ID, OOD))
    return {
        "hit": int((flagged & ood).sum()),
        "false": int((flagged & (sample.label == ID)).sum()),
        "missed": int((~flagged & ood).sum()),
        "void": int((flagged & ~known).sum()),
    }


def threshold_of(tab) -> float:
    return float(tab.locator('[data-side="a"] [data-part="threshold"]').get_attribute("title"))
