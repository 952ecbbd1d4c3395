"""The page in a real Chromium: no errors, no network, sorting, crops in step, narrow and dark screens."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from srbench.reporting import ReportResult, report

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PSNR_COLUMN = 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("SRBENCH_REQUIRE_BROWSER"):
            pytest.fail("SRBENCH_REQUIRE_BROWSER is set and there is no Chromium on this machine")
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def url(filled_report: ReportResult) -> str:
    return filled_report.page.as_uri()


@pytest.fixture(scope="module")
def rich_url(rich_report: ReportResult) -> str:
    return rich_report.page.as_uri()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The page, opened; at the end nothing but the file was loaded and nothing complained."""
    yield from opened_page(browser, url)


@pytest.fixture
def rich_page(browser: Any, rich_url: str) -> Iterator[Any]:
    """The same of a store with measurements, curves, guards and a control."""
    yield from opened_page(browser, rich_url)


def opened_page(browser: Any, url: str) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    messages: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(url)
    open_folds(opened)
    opened.wait_for_function("[...document.images].every((image) => image.complete)")
    yield opened
    assert messages == []
    assert [made for made in requests if not made.startswith("data:")] == [url]
    opened.close()


def open_folds(page: Any) -> None:
    page.eval_on_selector_all("details.fold", "all => all.forEach(fold => { fold.open = true; })")


def column_values(page: Any, section: str, column: int) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f"[data-columns]:not([hidden]) tbody.{section} tr:not(.section)",
        f"rows => rows.map(row => row.cells[{column}].dataset.value ?? row.cells[{column}].dataset.text)",
    )
    return found


def heading(page: Any, name: str) -> Any:
    return page.locator("[data-columns]:not([hidden]) thead th", has_text=name)


def test_sorting_by_mouse_is_numeric_and_goes_both_ways(page: Any) -> None:
    page.get_by_role("radio", name="Cost").check(force=True)
    head = heading(page, "Parameters")
    column = head.evaluate("head => head.cellIndex")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = [float(value) for value in column_values(page, "network", column)]
    assert ascending == sorted(ascending)
    assert ascending[0] == 665e3
    assert ascending[-1] == 1.5e6
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(v) for v in column_values(page, "network", column)] == sorted(ascending, reverse=True)


def test_sorting_by_keyboard_starts_with_the_best_and_keeps_sections(page: Any) -> None:
    before = page.eval_on_selector_all("table.leaderboard tr.section", "rows => rows.map(r => r.textContent)")
    head = heading(page, "PSNR")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(value) for value in column_values(page, "network", PSNR_COLUMN)]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column_values(page, "network", PSNR_COLUMN)] == values[::-1]
    after = page.eval_on_selector_all("table.leaderboard tr.section", "rows => rows.map(r => r.textContent)")
    assert after == before
    firsts = page.eval_on_selector_all("table.leaderboard tbody", "all => all.map(b => b.rows[0].className)")
    assert set(firsts) == {"section"}
    sorted_by = "[data-columns]:not([hidden]) [aria-sort]:not([aria-sort=none])"
    others = page.eval_on_selector_all(sorted_by, "heads => heads.length")
    assert others == 1


def test_sorting_by_name(page: Any) -> None:
    heading(page, "Model").locator("button").click()
    names = column_values(page, "network", 0)
    assert names == sorted(names, key=str.casefold)


def test_plots_follow_their_choosers(page: Any) -> None:
    chooser = page.locator("[data-chooser]", has=page.locator("figure[data-cost]"))
    assert chooser.locator("figure:visible").count() == 1
    chooser.locator("select[name=metric]").select_option("ssim")
    chooser.locator("select[name=cost]").select_option("seconds_per_mpx")
    shown = chooser.locator("figure:visible")
    assert shown.count() == 1
    assert shown.get_attribute("data-metric") == "ssim"
    assert shown.get_attribute("data-cost") == "seconds_per_mpx"


def drawings(page: Any, index: int = 0) -> list[str]:
    """The pixels of all pictures (not error maps) of an image's panel."""
    found: list[str] = (
        page.locator(".panel")
        .nth(index)
        .evaluate("panel => [...panel.querySelectorAll('.pixels canvas')].map(canvas => canvas.toDataURL())")
    )
    return found


def test_zooming_over_one_picture_zooms_all(page: Any) -> None:
    panel = page.locator(".panel").first
    before, other = drawings(page), drawings(page, 1)
    picture = panel.locator(".tile .pixels").nth(3)
    picture.scroll_into_view_if_needed()
    picture.click()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.wheel(0, -400)
    page.wait_for_function("document.querySelector('[data-role=zoom]').textContent !== '1.0×'")
    after = drawings(page)
    assert len(after) == 10
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert drawings(page, 1) == other
    page.keyboard.press("0")
    assert drawings(page) == before


def test_dragging_and_arrow_keys_move_all(page: Any) -> None:
    panel = page.locator(".panel").first
    panel.locator("[data-action=in]").click(click_count=1)
    panel.locator("[data-action=in]").click()
    start = drawings(page)
    picture = panel.locator(".tile .pixels").nth(4)
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 30, steps=3)
    page.mouse.up()
    dragged = drawings(page)
    assert all(old != new for old, new in zip(start, dragged, strict=True))
    page.keyboard.press("ArrowLeft")
    assert all(old != new for old, new in zip(dragged, drawings(page), strict=True))


def test_the_cursor_is_shown_in_every_tile_at_the_same_place(page: Any) -> None:
    picture = page.locator(".panel").first.locator(".tile .pixels").nth(5)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 50)
    places = page.locator(".panel").first.locator(".view i:not([hidden])")
    transforms = set(places.evaluate_all("marks => marks.map(mark => mark.style.transform)"))
    assert places.count() == 10 + 8
    assert len(transforms) == 1


def test_the_page_scrolls_over_pictures_that_were_not_clicked(page: Any) -> None:
    picture = page.locator(".panel").first.locator(".tile .pixels").nth(3)
    picture.scroll_into_view_if_needed()
    picture.hover()
    before = drawings(page)
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(200)
    assert drawings(page) == before


def test_choosing_a_region_changes_pictures_and_captions(browser: Any, fabricator: Any, players: Any) -> None:
    fabricator.images = [
        replace(scene, hr=np.hstack([scene.hr, 255 - scene.hr, scene.hr // 2])) for scene in fabricator.images
    ]
    for name in ("bicubic", "edsr", "srgan"):
        fabricator.add(players[name], metrics=("psnr",))
    opened = browser.new_page()
    opened.goto(report(fabricator.store.root).page.as_uri())
    open_folds(opened)
    opened.wait_for_function("[...document.images].every((image) => image.complete)")
    panel = opened.locator(".panel").first
    before = drawings(opened)
    captions = panel.locator(".tile[data-kind=sr] em:visible").all_inner_texts()
    chosen = panel.locator(".overview rect.chosen").get_attribute("data-region")
    panel.locator("input[data-role=region]").nth(1).check()
    assert all(old != new for old, new in zip(before, drawings(opened), strict=True))
    assert panel.locator(".tile[data-kind=sr] em:visible").all_inner_texts() != captions
    assert (chosen, panel.locator(".overview rect.chosen").get_attribute("data-region")) == ("0", "1")
    opened.close()


def test_holding_a_key_shows_hr_in_every_tile(page: Any) -> None:
    before = drawings(page)
    page.locator(".panel").first.locator(".tiles").focus()
    page.keyboard.down("h")
    assert len(set(drawings(page))) == 1
    page.keyboard.up("h")
    assert drawings(page) == before


def test_error_maps_are_the_absolute_difference(page: Any) -> None:
    """Canvas pixels (before the colour filter) against HR and SR read back from the embedded images."""
    page.locator(".panel").first.get_by_label("image, error").check()
    worst = page.locator(".panel").first.evaluate(
        """root => {
          const read = (image) => {
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, canvas.width, canvas.height).data;
          };
          const hr = root.querySelector("[data-kind=hr] img");
          const tile = root.querySelectorAll("[data-kind=sr]")[1];
          const [a, b] = [read(hr), read(tile.querySelector("img"))];
          const canvas = tile.querySelector(".error canvas");
          const shown = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const side = hr.naturalWidth, scale = canvas.width / side;
          let worst = 0;
          for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
            const at = 4 * (Math.floor((y + 0.5) * scale) * canvas.width + Math.floor((x + 0.5) * scale));
            const error = Math.abs(a[4 * (y * side + x)] - b[4 * (y * side + x)]);
            worst = Math.max(worst, Math.abs(shown[at] - error));
          }
          return worst;
        }"""
    )
    assert worst <= 1


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than its window, with all details open."""
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    pixels: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return pixels


def test_no_screen_scrolls_sideways(page: Any) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (380, 400, 760, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            assert overflow(page) == 0, (scheme, width)


def test_dark_mode_turns_paper_and_ink(page: Any) -> None:
    def lightness(name: str) -> int:
        colour = page.evaluate(f"getComputedStyle(document.body).{name}")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    page.emulate_media(color_scheme="light")
    assert lightness("backgroundColor") > 700 > lightness("color")
    page.emulate_media(color_scheme="dark")
    assert lightness("backgroundColor") < 100
    assert lightness("color") > 600


def test_hostile_names_do_not_run(browser: Any, fabricator: Any, players: Any) -> None:
    hostile = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
    fabricator.dataset = hostile
    fabricator.add(replace(players["bicubic"], title=hostile))
    opened = browser.new_page()
    opened.goto(report(fabricator.store.root).page.as_uri())
    assert opened.title().startswith("<img src=x") and opened.title().endswith(": srbench report")
    assert opened.locator("h2").inner_text().startswith("<img src=x")
    opened.close()


def test_error_maps_show_the_errors(page: Any) -> None:
    """What is painted, not what was meant: an error map has dark and light places, and no grey ones."""
    import cv2

    page.locator(".panel").last.get_by_label("image, error").check()
    tile = page.locator(".view.error").last
    tile.scroll_into_view_if_needed()
    painted = cv2.imdecode(np.frombuffer(tile.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(float)
    assert painted.max() > 120
    assert painted.std() > 10
    assert np.abs(painted[..., 0] - painted[..., 2]).max() > 40


def visible_sets(page: Any) -> list[str]:
    names: list[str] = page.locator("[data-columns]:visible").evaluate_all(
        "all => all.map(s => s.dataset.columns)"
    )
    return names


def test_one_set_of_columns_is_seen_at_a_time_and_fits(rich_page: Any) -> None:
    assert visible_sets(rich_page) == ["main"]
    rich_page.set_viewport_size({"width": 1400, "height": 900})
    for button in rich_page.locator(".pills input").all():
        button.check(force=True)
        assert visible_sets(rich_page) == [button.get_attribute("value")]
        table = rich_page.locator("[data-columns]:visible .scroll")
        assert table.evaluate("scroll => scroll.scrollWidth - scroll.clientWidth") <= 0
    rich_page.get_by_role("radio", name="Perceptual, not evidence of structure").focus()
    rich_page.keyboard.press("Space")
    assert visible_sets(rich_page) == ["perceptual"]
    flag = rich_page.locator("table.leaderboard .flag:visible")
    assert flag.inner_text() == "not evidence of structure"
    assert rich_page.locator("[data-columns=perceptual] .bestmark").count() == 0


def test_without_script_everything_is_there(browser: Any, rich_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(rich_url)
    assert opened.locator(".strip img").first.is_visible()
    for summary in opened.locator("details.fold > summary").all():
        summary.click()
    sets = opened.locator("[data-columns]")
    assert sets.count() > 3 and all(columns.is_visible() for columns in sets.all())
    assert opened.locator(".tile .map img").first.is_visible()
    assert opened.locator(".needs-js:visible").count() == 0
    context.close()


def test_the_first_screen_holds_words_verdicts_and_pictures(browser: Any, rich_url: str) -> None:
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.goto(rich_url)
    for selector in (".sentences li", "table.grid", ".strip figure:first-child img"):
        box = opened.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= 900, selector
    assert opened.locator("details.fold[open]").count() == 0
    opened.locator(".contents a", has_text="All numbers").click()
    opened.wait_for_selector("details.fold[open] table.leaderboard")
    assert opened.locator("details.fold[open]").count() == 1
    opened.close()


def names_shown(page: Any, selector: str) -> set[str]:
    return set(
        page.locator(f"{selector} [data-row]:visible").evaluate_all("rows => rows.map(r => r.dataset.row)")
    )


def test_rows_are_found_and_hidden_in_tables_and_pictures(rich_page: Any) -> None:
    everywhere = (".verdicts", "table.trust", "[data-columns=main]", "article.panel:first-of-type")
    every = {selector: names_shown(rich_page, selector) for selector in everywhere}
    rich_page.get_by_label("Find rows").fill("edsr PAPER")
    (edsr,) = names_shown(rich_page, "[data-columns=main]")
    assert all(names_shown(rich_page, selector) == {edsr} for selector in everywhere)
    assert rich_page.locator("[data-columns=main] tr.section:visible").count() == 1
    rich_page.get_by_label("Find rows").fill("")
    rich_page.locator("details.rows summary").click()
    rich_page.locator(f"[data-shows='{edsr}']").uncheck()
    assert all(names_shown(rich_page, selector) == every[selector] - {edsr} for selector in everywhere)


def test_two_tiles_side_by_side_or_one_large(rich_page: Any) -> None:
    panel = rich_page.locator(".panel").first
    tiles = panel.locator(".tile:visible")
    every, width = tiles.count(), tiles.nth(3).bounding_box()["width"]
    panel.locator("[data-role=layout]").select_option("two")
    panel.locator("[data-role=second]").select_option(label="EDSR")
    assert tiles.count() == 2
    first, second = (tiles.nth(index).bounding_box() for index in (0, 1))
    assert first["y"] == second["y"] and min(first["width"], second["width"]) > 1.5 * width
    panel.locator("[data-role=layout]").select_option("one")
    panel.locator("[data-role=first]").select_option(label="VDSR")
    assert [text.split()[0] for text in panel.locator(".tile:visible figcaption b").all_inner_texts()] == [
        "VDSR"
    ]
    panel.locator("[data-role=layout]").select_option("all")
    assert tiles.count() == every


def test_numbers_of_an_image_stand_beside_its_crops(rich_page: Any) -> None:
    panel = rich_page.locator(".panel").first
    panel.locator(".of-image summary").click()
    rows = panel.locator(".of-image tbody tr")
    assert rows.count() == panel.locator(".tile[data-kind=sr]").count()
    assert panel.locator(".of-image thead th").count() > 3


def test_nothing_is_cut_on_paper(browser: Any, rich_url: str) -> None:
    """A4 is 703 CSS pixels between its margins: no table is wider, no number smaller than its interval."""
    opened = browser.new_page(viewport={"width": 703, "height": 1000})
    opened.goto(rich_url)
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details.fold:not([open])").count() == 1
    wide = "tables => tables.filter(t => t.offsetParent && t.getBoundingClientRect().right > 704).length"
    assert opened.eval_on_selector_all("table", wide) == 0
    sizes = {
        selector: opened.locator(selector).first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
        for selector in ("td .mean", "td .ci", "td .diff")
    }
    assert max(sizes.values()) == sizes["td .mean"]
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details.fold[open]").count() == 0
    opened.close()


def test_an_accessibility_checker_finds_nothing_serious(browser: Any, rich_url: str) -> None:
    """axe-core, where SRBENCH_AXE names its axe.min.js (npm install axe-core)."""
    script = os.environ.get("SRBENCH_AXE")
    if not script:
        pytest.skip("SRBENCH_AXE does not name axe.min.js")
    for scheme in ("light", "dark"):
        for width in (1400, 420):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
            )
            opened = context.new_page()
            opened.goto(rich_url)
            opened.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
            opened.add_script_tag(path=script)
            found = opened.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
            assert serious == [], (scheme, width)
            context.close()


def test_curves_follow_their_choosers(rich_page: Any) -> None:
    chooser = rich_page.locator("[data-chooser]", has=rich_page.locator("select[name=band]"))
    figure = chooser.locator("figure:visible")
    assert (figure.count(), figure.get_attribute("data-category")) == (1, "")
    assert figure.locator("g:visible").count() == 1
    first = figure.locator("g:visible").get_attribute("data-band")
    chooser.locator("select[name=band]").select_option(label="VDSR")
    assert figure.locator("g:visible").count() == 1
    assert figure.locator("g:visible").get_attribute("data-band") != first
    assert figure.locator("g:visible path.band").count() == 1
    chooser.locator("select[name=category]").select_option("powder")
    assert figure.get_attribute("data-category") == "powder"
    assert figure.locator("g:visible path.curve").count() == 1
    assert figure.locator("g:visible path.band").count() == 0
    chooser.locator("select[name=band]").select_option("")
    assert figure.locator("g:visible").count() == 0


PAINTED = """
root => [...root.querySelectorAll(".map canvas")].map(canvas => {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  if (canvas.width) context.drawImage(canvas, 0, 0);
  const pixels = canvas.width ? context.getImageData(0, 0, canvas.width, canvas.height).data : [];
  let [warm, cool] = [0, 0];
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at] > pixels[at + 2] + 30) warm += 1;
    if (pixels[at + 2] > pixels[at] + 30) cool += 1;
  }
  return [warm, cool].map(count => count / (pixels.length / 4));
})
"""


def test_maps_show_what_was_invented_and_what_was_omitted(rich_page: Any) -> None:
    panel = rich_page.locator(".panel").first
    titles = panel.locator(".tile:has(.map) b").all_inner_texts()
    painted = dict(zip(titles, panel.evaluate(PAINTED), strict=True))
    assert painted["Control: invented texture"][0] > 0.5
    assert painted["Bicubic"][0] < 0.05
    assert painted["Bicubic"][1] > 0.1
    assert painted["EDSR"][1] < painted["Bicubic"][1]


def test_holding_a_key_takes_the_tints_away(rich_page: Any) -> None:
    panel = rich_page.locator(".panel").first
    panel.locator(".tiles").focus()
    rich_page.keyboard.down("h")
    assert not np.any(panel.evaluate(PAINTED))
    rich_page.keyboard.up("h")
    assert np.any(panel.evaluate(PAINTED))


def test_views_are_chosen_by_keyboard(rich_page: Any) -> None:
    panel = rich_page.locator(".panel").first
    panel.get_by_label("image, invented and omitted").focus()
    views = {
        "image, invented and omitted": {"pixels", "map"},
        "image, error": {"pixels", "error"},
        "all three": {"pixels", "map", "error"},
        "image": {"pixels"},
    }
    for label, shown in views.items():
        assert panel.get_by_label(label, exact=True).is_checked()
        kinds = panel.locator(".tile[data-kind=sr] .view:visible").evaluate_all(
            "views => views.map(view => view.className.split(' ')[1])"
        )
        assert set(kinds) == shown
        assert panel.locator(".amounts:visible").count() == (8 if "map" in shown else 0)
        assert panel.locator(".tile[data-kind=hr] .pixels:visible").count() == 1
        rich_page.keyboard.press("ArrowRight")


def test_amounts_of_detail_are_told_in_numbers(rich_page: Any) -> None:
    words = rich_page.locator(".panel").first.locator(".amounts:visible").all_inner_texts()
    assert len(words) == 8
    assert all(word.startswith("invented ") and ", omitted " in word for word in words)


CONTRAST = """
selector => [...document.querySelectorAll(selector)].filter(one => one.offsetParent).map(one => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = parse(text).map(part => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = element => getComputedStyle(element).backgroundColor;
  let under = one;
  while (under && (parse(paper(under))[3] ?? 1) === 0) under = under.parentElement;
  const [a, b] = [light(getComputedStyle(one).color), light(paper(under ?? document.body))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})
"""


def show_everything(page: Any) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    page.eval_on_selector_all("[data-columns][hidden]", "all => all.forEach(one => { one.hidden = false; })")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(rich_page: Any, scheme: str) -> None:
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5."""
    rich_page.emulate_media(color_scheme=scheme)
    show_everything(rich_page)
    for selector in (
        "td.verdict b",
        "td.verdict .ci",
        ".badge",
        ".flag",
        ".checks td b",
        ".checks td .ci",
        ".sentences b",
        ".sign",
        ".contents a",
        ".diff",
        ".rank",
        ".amounts",
    ):
        contrasts = rich_page.evaluate(CONTRAST, selector)
        assert contrasts and min(contrasts) >= 4.5, selector


def test_no_screen_scrolls_sideways_with_everything_shown(rich_page: Any) -> None:
    show_everything(rich_page)
    for width in (400, 1400):
        rich_page.set_viewport_size({"width": width, "height": 900})
        assert overflow(rich_page) == 0


def test_everything_to_click_has_a_name(rich_page: Any) -> None:
    nameless = rich_page.eval_on_selector_all(
        "button, select, input, [role=region], [role=img]",
        """all => all.filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() ||
                 one.closest('label')?.textContent.trim())).map(one => one.outerHTML)""",
    )
    assert nameless == []
    pictures = rich_page.eval_on_selector_all(
        "img", "all => all.filter(one => !one.hasAttribute('alt')).length"
    )
    assert pictures == 0
