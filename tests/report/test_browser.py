"""The page in a browser: what it shows, and that every way to touch it works, without an error on the console.

Needs the package ``playwright`` (the extra ``browser``) and a Chromium of the system's own.
"""

import json
import shutil
from contextlib import contextmanager
from threading import Thread

import pytest

from diffnas.api.compare import compared
from diffnas.report.compare import differing_grid, group_grid, run_grid, write_page
from diffnas.report.page import write_report
from diffnas.report.sweep.record import EndRecord, write_end
from diffnas.report.watch import serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

expect = playwright.expect
WAIT = 20_000  # milliseconds

FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync")
FLAGS += ("disable-background-networking", "disable-component-update")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SKIP = "|skip_connect~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
# On every edge none, skip, conv 1x1, conv 3x3 and avg pool; the last dies after the first epoch.
EPOCHS = [
    (SKIP, [[0.1, 0.4, 0.2, 0.2, 0.1]] * 6),
    (SKIP, [[0.1, 0.4, 0.2, 0.3, 0.0]] * 6),
    (CONV, [[0.05, 0.2, 0.1, 0.65, 0.0]] * 6),
]


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS])
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, *, size=DESK, theme="light"):
    """The page at an address; whatever its console calls an error fails the test."""
    context = chromium.new_context(viewport=size, color_scheme=theme)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(str(address))
    try:
        yield page
        assert errors == []
    finally:
        context.close()


@pytest.fixture
def report(write_search):
    """The address of a report of three epochs."""
    return write_report(write_search(EPOCHS)).as_uri()


def paper(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_whole_run_is_shown_on_every_screen_in_both_themes(chromium, write_search, size, theme):
    report = write_report(write_search(EPOCHS, evaluated=True))
    with opened(chromium, report.as_uri(), size=size, theme=theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "it is wider than the screen"
        assert page.locator("#edges .edge svg").count() == 6
        for name in ("search-loss", "search-accuracy", "evaluation-accuracy", "live", "time", "macs", "memory"):
            assert page.locator(f"[data-plot={name}] svg path").first.get_attribute("d").startswith("M")
        assert (paper(page) == "rgb(253, 253, 251)") == (theme == "light")


def test_the_slider_shows_the_cell_forming(chromium, report):
    with opened(chromium, report) as page:
        forming = page.locator("#forming svg")
        assert "conv 3×3 from input to 1" in forming.get_attribute("aria-label")
        page.locator("#epoch").focus()
        page.keyboard.press("Home")
        assert page.locator("#at").inner_text() == "epoch 1 of 3"
        assert "skip from input to 1" in forming.get_attribute("aria-label")
        page.keyboard.press("ArrowRight")
        assert page.locator("#epoch").get_attribute("aria-valuetext") == "epoch 2 of 3"
        page.keyboard.press("End")
        assert page.locator("#at").inner_text() == "epoch 3 of 3, result"


def test_play_runs_to_the_end_and_stops(chromium, report):
    with opened(chromium, report) as page:
        page.locator("#play").click()
        assert page.locator("#play").get_attribute("aria-label") == "Pause"
        expect(page.locator("#play")).to_have_attribute("aria-label", "Play", timeout=WAIT)
        assert "epoch 3" in page.locator("#at").inner_text()


def test_pointing_at_an_edge_tells_its_values_and_a_click_goes_to_that_epoch(chromium, report):
    with opened(chromium, report) as page:
        drawing = page.locator("#edges .edge svg").first
        drawing.scroll_into_view_if_needed()
        box = drawing.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator("#tip p").inner_text() == "Edge input → 1, epoch 2"
        told = page.locator("#tip div").evaluate_all(
            "rows => rows.map((row) => [...row.childNodes].map((n) => n.textContent))"
        )
        assert told == [
            ["skip", "0.400"],
            ["conv 3×3", "0.300"],
            ["conv 1×1", "0.200"],
            ["none", "0.100"],
            ["avg pool 3×3", "pruned"],
        ]
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator("#at").inner_text() == "epoch 2 of 3"
        page.mouse.move(2, 2)
        assert page.locator("#tip").is_hidden()


def test_an_edge_takes_the_keyboard(chromium, report):
    with opened(chromium, report) as page:
        page.locator("#edges .edge svg").nth(1).focus()
        page.keyboard.press("ArrowLeft")
        assert page.locator("#at").inner_text() == "epoch 2 of 3"
        assert "Edge input → 2, epoch 2" in page.locator("#tip").inner_text()


def test_a_pruned_operation_ends_in_a_dot_where_it_died(chromium, report):
    with opened(chromium, report) as page:
        edge = page.locator("#edges .edge").first
        assert edge.locator("circle.end").count() == 1
        assert edge.locator("circle.end.o4").count() == 1
        first_epoch = float(edge.locator("path.line.o1").get_attribute("d").split(" ")[0][1:])
        assert float(edge.locator("circle.end").get_attribute("cx")) == pytest.approx(first_epoch)


def test_an_operation_can_be_followed_through_all_edges(chromium, report):
    with opened(chromium, report) as page:
        skip = page.get_by_role("button", name="skip", exact=True)
        skip.click()
        assert page.locator("#edges.lit .line.on").count() == 6
        assert skip.get_attribute("aria-pressed") == "true"
        skip.click()
        assert page.locator("#edges.lit").count() == 0


def test_the_theme_can_be_switched_and_is_kept(chromium, report):
    with opened(chromium, report) as page:
        light = paper(page)
        page.locator("#theme").click()
        dark = paper(page)
        assert dark != light
        page.reload()
        assert paper(page) == dark
        page.locator("#theme").click()
        assert paper(page) == light


def test_kinds_of_cell_can_be_switched(chromium, write_search):
    folder = write_search(EPOCHS)
    record = json.loads((folder / "run.json").read_text())
    names = ["cell0", "cell2", "cell4"]
    record["space"]["cells"] = dict.fromkeys(names, record["space"]["cells"]["normal"])
    (folder / "run.json").write_text(json.dumps(record))
    lines = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {name: line[name] * 3 for name in ("mix", "keep")}
        line["genotype"]["cells"] = dict.fromkeys(names, line["genotype"]["cells"]["normal"])
    (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "genotype.json").write_text(json.dumps(lines[-1]["genotype"]))
    with opened(chromium, write_report(folder).as_uri()) as page:
        page.locator(".kinds").first.get_by_role("button", name="cell2").click()
        assert "The cell2 cell" in page.locator("#forming svg").get_attribute("aria-label")
        assert page.locator(".kinds button[aria-pressed=true]").all_inner_texts() == ["cell2", "cell2"]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_runs_side_by_side_fit_every_screen_and_have_the_theme_of_the_reports(chromium, write_search, tmp_path, size):
    runs = [write_search(epochs, name=f"run-{seed}") for seed, epochs in enumerate((EPOCHS, EPOCHS[:2]))]
    groups = compared(runs)
    write_page(groups, [group_grid(groups), run_grid(groups), differing_grid(groups)], tmp_path / "compared.html")
    with opened(chromium, (tmp_path / "compared.html").as_uri(), size=size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "it is wider than the screen"
        assert page.locator("h1").inner_text() == "2 runs compared"
        light = paper(page)
        page.locator("#theme").click()
        page.reload()
        assert paper(page) != light


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_run_that_has_only_begun_is_shown(chromium, write_search, epochs):
    folder = write_search(EPOCHS[:epochs], planned=5, finished=False)
    with opened(chromium, write_report(folder).as_uri()) as page:
        assert "This run is not finished" in page.locator("main").inner_text()


def test_a_watched_run_keeps_itself_up_to_date_and_keeps_the_place(chromium, write_search):
    folder = write_search(EPOCHS, planned=9, finished=False)
    trace = folder / "trace.jsonl"
    lines = trace.read_text().splitlines(keepends=True)
    trace.write_text("".join(lines[:1]))

    with serving(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with opened(chromium, f"http://127.0.0.1:{server.server_port}/", theme="dark") as page:
                assert page.locator("#live").inner_text() == "live"
                assert page.locator("#at").inner_text() == "epoch 1 of 9"
                trace.write_text("".join(lines[:2]))
                expect(page.locator("#at")).to_have_text("epoch 2 of 9", timeout=WAIT)  # at the end, it follows
                page.locator("#epoch").focus()
                page.keyboard.press("Home")
                trace.write_text("".join(lines))
                expect(page.locator(".kicker")).to_contain_text("3 of 9", timeout=WAIT)
                assert page.locator("#at").inner_text() == "epoch 1 of 9", "moved back by hand, it stays"
                assert page.evaluate("document.activeElement.id") == "epoch"
                assert page.locator("#edges .edge svg").count() == 6
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_of_a_sweep_follows_its_runs(chromium, sweep_folder, size):
    with serving(sweep_folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with opened(chromium, f"http://127.0.0.1:{server.server_port}/", size=size) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "wider than the screen"
                assert page.locator(".runs tbody tr:not(.reason)").count() == 5
                assert page.locator(".runs .reason").inner_text() == "the loss became <b>infinite</b>."
                write_end(sweep_folder, "waiting", EndRecord(done=False, reason="no disk was left."))
                expect(page.locator(".kicker")).to_contain_text("2 failed", timeout=WAIT)
                assert page.locator(".runs .reason").count() == 2
                expect(page.locator("#live")).to_have_text("live")
        finally:
            server.shutdown()
            thread.join()
