"""Untrusted texts, long texts, the real pairs, and two hundred labels in a row."""

from __future__ import annotations

import json
import statistics

import pytest

from persuasion_lib.core.records import Pair, pair_row
from worlds.labeling_pool import ROOT, make_pairs

pytestmark = pytest.mark.browser
REAL = ROOT.parent / "shared/data/cmv_pairs/human_pool_responses.jsonl"
EVIL = "https://evil.example"
PAYLOADS = [
    "<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 2'>",
    f"![i]({EVIL}/a.png)", f"<img src='{EVIL}/b.png'>", "[c](javascript:window.hit=3)",
    f"[d][e]\n\n[e]: javascript:window.hit=4\n\n<{EVIL}/c>",
    "<svg onload='window.hit=5'><script>window.hit=6</script></svg>",
    "</div></article></div><iframe srcdoc='<script>parent.hit=7</script>'></iframe>",
    "</script></style></textarea><script>window.hit=8</script>",
    f"<style>@import url({EVIL}/d.css);</style><link rel=stylesheet href={EVIL}/e.css>",
    f"<div style='background:url({EVIL}/f.png)' onmouseover='window.hit=9'>x</div>",
    "```<img src=x onerror=window.hit=10>\nx\n```", "<details open ontoggle='window.hit=11'>",
    "`<img src=x onerror=window.hit=12>` &lt;img src=x onerror=window.hit=13&gt;",
]


def evil_pool():
    return [pair_row(Pair(f"e{i}", [{"role": "user", "content": text}], text, f"{text} b"))
            for i, text in enumerate(PAYLOADS)]


def test_nothing_in_a_text_runs_or_loads_anything(desk):
    desk = desk(evil_pool())
    desk.page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    desk.run_all()
    for _ in range(len(PAYLOADS) + 2):      # two of them are shown twice
        for key in ("m", "m", "r", "r"):
            desk.page.keyboard.press(key)
        assert desk.page.locator(
            ".plab-text :is(img, a, script, svg, iframe, style, link, details, div)").count() == 0
        desk.press("1")
    assert "All answered" in desk.page.locator(".plab-end").inner_text()
    desk.run_all_again()        # the tables and the pair browser, with all pairs labelled
    slider = desk.page.get_by_role("slider")
    slider.focus()
    for _ in PAYLOADS:
        desk.page.keyboard.press("ArrowRight")
        desk.page.wait_for_timeout(100)
    assert desk.page.evaluate("window.hit") is None
    assert [url for url in desk.requests if not url.startswith((desk.lab.url, "data:", "blob:"))
            ] == []


def test_long_texts_scroll_inside_and_start_at_the_top_again(desk):
    rows = [pair_row(Pair(p.pair_id, p.prompt, "long " * 3000, "lang " * 3000))
            for p in make_pairs(4)]
    desk = desk(rows)
    desk.run_all()
    pane = desk.page.locator(".plab-first .plab-text")
    assert pane.bounding_box()["height"] < 400
    pane.evaluate("node => node.scrollTop = 500")
    desk.press("1")
    assert pane.evaluate("node => node.scrollTop") == 0


@pytest.mark.skipif(not REAL.exists(), reason="the real pairs are not here")
def test_ten_of_the_two_hundred_real_pairs(desk):
    desk = desk([json.loads(line) for line in REAL.read_text().splitlines()])
    desk.run_all()
    desk.wait_status("Ready. 0 of 233")
    desk.page.set_viewport_size({"width": 1366, "height": 768})     # a laptop
    for key in "1231231212":
        desk.press(key)
        for part in (".plab-status", ".plab-second .plab-text", ".plab-main button"):
            box = desk.page.locator(part).first.bounding_box()
            assert box["y"] > 60 and box["y"] + box["height"] < 768
    assert len({event["pair_id"] for event in desk.events()}) == 10
    assert len(desk.choices()) == 10
    assert "10 of 233" in desk.page.locator(".plab-count").inner_text()


CLOCK = """() => {
  window.times = [];
  let pressed = 0;
  addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => requestAnimationFrame(() => {
    if (pressed) window.times.push(performance.now() - pressed);
    pressed = 0;
  })).observe(document.querySelector(".plab-first .plab-text"), {childList: true, subtree: true});
}"""


def test_two_hundred_labels_by_key_are_fast_and_all_in_the_file(desk):
    desk = desk([pair_row(pair) for pair in make_pairs(200)])
    desk.run_all()
    desk.page.evaluate(CLOCK)
    for done in range(233):
        desk.page.keyboard.press("123"[done % 3])
        desk.page.wait_for_function("done => document.querySelector('.plab-bar').value > done",
                                    arg=done)
        desk.page.wait_for_timeout(160)
    times = sorted(desk.page.evaluate("window.times"))
    median, p95 = statistics.median(times), times[int(len(times) * 0.95)]
    print(f"\nkey to next pair, {len(times)} labels: median {median:.0f} ms, p95 {p95:.0f} ms")
    assert len(times) >= 200 and median < 100
    assert len(desk.choices()) == 233
    desk.run_all_again()
    labeled = desk.project / "data/demo/preferences/human_pool_labeled.jsonl"
    rows = [json.loads(line) for line in labeled.read_text().splitlines()]
    assert len({row["metadata"]["pair_id"] for row in rows}) == len(rows) == 200
    assert sum(row["metadata"]["is_equal"] for row in rows) == sum(
        event["choice"] == "tie" for event in desk.events() if event["kind"] == "pair")
