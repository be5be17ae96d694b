"""The page in a browser: Chromium, driven by Playwright, on a service whose models are small.

    apt-get install chromium && python -m pip install -e ".[test,browser]" && python -m pytest -m browser

What is not installed is told and skipped.
"""

import json
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[browser]")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e .[serve]")
pytest.importorskip("fastapi", reason="FastAPI is not installed: pip install -e .[serve]")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from inference_stubs import NO_BOX, ONE_BOX  # noqa: E402
from medvol_r1.service.study import LONGEST_NAME  # noqa: E402
from medvol_r1.volume.query_text import MAX_CHARACTERS  # noqa: E402
from medvol_r1.web.protection import MARK  # noqa: E402
from page_pictures import CHROMIUM, chromium, open_study, started_server  # noqa: E402
from service_runs import SETTINGS, SHAPE, small_service, write_study  # noqa: E402
from web_clients import running  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> $import %x @id'
HOSTILE_FILE = "<img src=x onerror='window.hacked=1'>.nii.gz"
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
HEADERS = {MARK: "1"}
# A picture is grey but for the masks: the crosshair is white, boxes lie above the canvas.
COLORED_PIXELS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4)
    count += Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]) > 25;
  return count;
}"""


class SlowModel:
    """Answers with one box, or none for a unicorn; "slowly" writes until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def generate(self, volume, texts, on_text):
        answer = NO_BOX if "unicorn" in texts[0] else ONE_BOX
        for end in range(0, len(answer), 8):
            on_text(answer[:end])
        try:
            while "slowly" in texts[0]:
                on_text("<think>Looking at each slice </think")
                time.sleep(0.02)
        finally:
            self.stopped.set()
        return [[SimpleNamespace(text=answer)] for _ in texts]


def boxes_everywhere(features, anchors, window=None):
    """The place of MedSAM2: each box filled, on all slices, as far as its points reach."""
    masks = []
    for _, boxes, *points in anchors:
        mask = torch.zeros(SETTINGS["num_slices"], SETTINGS["slice_size"], SETTINGS["slice_size"], dtype=torch.bool)
        for x1, y1, x2, y2 in torch.as_tensor(boxes).round().int().tolist():
            mask[:, y1:y2, x1:x2] = True
        for point in points[0][0] if points else ():
            mask[:, int(point[1]) :] = False
        masks.append((mask, 1.0))
    return masks


@pytest.fixture(scope="module")
def model():
    return SlowModel()


@pytest.fixture(scope="module")
def service(tmp_path_factory, model):
    """Two studies, one with a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "studies").mkdir()
    write_study(folder / "studies" / "ct.nii.gz")
    shutil.copy(folder / "studies" / "ct.nii.gz", folder / "studies" / HOSTILE_FILE)
    path = [*sys.path]
    service = small_service(folder, folder / "studies")
    sys.path[:] = path
    service.models._network.generate = model.generate
    service.models._inferer.propagator.scored_masks = boxes_everywhere
    yield service
    service.shut_down()


@pytest.fixture(scope="module")
def url(service):
    with running(service) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def new_page(browser, url):
    """Makes pages; afterwards none may have complained, run foreign code, or asked anybody but the server."""
    contexts, complaints = [], []

    def make(base=url, **settings):
        context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("request", lambda sent: None if sent.url.startswith((base, "blob:")) else complaints.append(sent.url))
        page.goto(base)
        return page

    make.complaints = complaints
    yield make
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.hacked") is None
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page):
    """The page with the phantom opened."""
    page = new_page()
    open_study(page, "ct.nii.gz")
    return page


def ask(page, query):
    page.get_by_label("What do you look for?").fill(query)
    page.keyboard.press("Enter")


def answered(page, query):
    ask(page, query)
    playwright.expect(page.get_by_role("heading", name=query[:20])).to_be_visible(timeout=60_000)
    playwright.expect(page.locator(".progress")).to_be_hidden(timeout=60_000)


def canvas(page, plane="axial"):
    return page.locator(f".stage[data-plane={plane}] canvas")


def colored(page, plane="axial"):
    return canvas(page, plane).evaluate(COLORED_PIXELS)


def wait_until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def slice_number(page, plane="axial"):
    return int(page.locator(f".plane[data-plane={plane}] .slice-number").inner_text().split(" / ")[0])


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def touch(page, start, end):
    """Fingers from their places at the start to those at the end; Playwright has taps alone."""
    session = page.context.new_cdp_session(page)
    for kind, places in (("touchStart", start), ("touchMove", end), ("touchEnd", [])):
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def downloaded(page, button, folder):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def propagate(page):
    page.get_by_role("button", name="Propagate again").click()
    playwright.expect(page.get_by_role("button", name="Undo")).to_be_visible(timeout=60_000)


def shown_volume(page):
    return float(page.locator(".volume strong").inner_text())


def test_from_a_question_to_a_corrected_mask_and_its_file(page, service, tmp_path):
    study = service.folder.root / "ct.nii.gz"
    assert colored(page) == 0
    answered(page, "the liver")
    for plane in ("axial", "coronal", "sagittal"):
        wait_until(lambda plane=plane: colored(page, plane) > 100)
    playwright.expect(page.locator("#answer blockquote")).to_have_text("Seen best here.")
    playwright.expect(page.locator(".result .status")).to_have_text("found")
    before, volume = colored(page), shown_volume(page)

    box = page.locator(".box")
    x, y = middle(box)
    drag(page, (x, y), (x - 60, y - 40))
    corner = box.locator("[data-corner=se]")
    x, y = middle(corner)
    drag(page, (x, y), (x - 50, y - 30))
    propagate(page)
    assert 0 < shown_volume(page) < 0.9 * volume
    # The stand-in fills the boxes of all slices alike, so the picture shrinks as the volume does.
    wait_until(lambda: colored(page) / before == pytest.approx(shown_volume(page) / volume, rel=0.1))

    mask = nib.load(downloaded(page, "NIfTI", tmp_path))
    assert np.array_equal(mask.affine, nib.load(study).affine) and mask.shape == SHAPE
    # 5 x 5 x 8 mm: 0.2 ml a voxel.
    assert np.asarray(mask.dataobj).sum() * 0.2 == pytest.approx(shown_volume(page), abs=0.06)
    assert '"corrected": true' in downloaded(page, "Evidence", tmp_path).read_text()
    assert page.get_by_role("button", name="DICOM SEG").count() == 0, "there is none of a NIfTI"
    assert downloaded(page, "Picture", tmp_path).read_bytes().startswith(b"\x89PNG")

    page.get_by_role("button", name="Undo").click()
    playwright.expect(page.locator(".volume strong")).to_have_text(f"{volume:.1f}")
    wait_until(lambda: colored(page) == before)


def test_a_mask_of_a_dicom_series_is_taken_away_as_dicom_seg(new_page, service, tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install -e .[dicom]")
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install -e .[dicom]")
    import dicom_files

    study = nib.load(service.folder.root / "ct.nii.gz")
    values = np.asarray(study.dataobj).astype(np.int16)
    images = dicom_files.write_series(service.folder.root / "series", values, study.affine)
    page = new_page()
    open_study(page, "series")
    answered(page, "the liver")
    seg = pydicom.dcmread(downloaded(page, "DICOM SEG", tmp_path))
    assert seg.Modality == "SEG" and seg.SegmentSequence[0].SegmentLabel == "the liver"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID
    # 5 x 5 x 8 mm: 0.2 ml a voxel.
    assert seg.pixel_array.sum() * 0.2 == pytest.approx(shown_volume(page), abs=0.06)


def test_boxes_are_added_deleted_and_moved_by_keys(page):
    answered(page, "the spleen")
    stage = page.locator(".stage[data-plane=axial]").bounding_box()
    page.get_by_role("button", name="Add box").click()
    place = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    drag(page, place, (place[0] + 80, place[1] + 60))
    assert page.locator(".box").count() == 2
    page.locator(".box").nth(1).focus()
    left = page.locator(".box").nth(1).bounding_box()["x"]
    page.keyboard.press("ArrowLeft")
    assert page.locator(".box").nth(1).bounding_box()["x"] < left
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Delete box 1").click()
    assert page.locator(".box").count() == 0
    playwright.expect(page.get_by_text("the target is not in this scan")).to_be_visible()
    propagate(page)
    playwright.expect(page.locator(".result .status")).to_have_text("not in this scan; corrected by hand")


def test_points_are_set_dragged_and_deleted(page, tmp_path):
    answered(page, "the liver")
    volume = shown_volume(page)
    point, box = page.locator(".point"), page.locator(".box").bounding_box()
    page.get_by_role("button", name="Add point").click()
    page.mouse.click(box["x"] - 20, box["y"] - 20)
    assert point.count() == 0, "outside of the box there is none"
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    drag(page, middle(point), (box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5))
    assert middle(point) == pytest.approx(middle(page.locator(".box")), abs=1)
    playwright.expect(page.locator(".evidence h3")).to_contain_text("1 box, 1 point")
    propagate(page)
    assert shown_volume(page) == pytest.approx(volume / 2, rel=0.2)
    evidence = json.loads(downloaded(page, "Evidence", tmp_path).read_text())
    (x1, y1, x2, y2), ((x, y),) = evidence["boxes_1000"][0], evidence["points_1000"][0]
    assert (x, y) == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2), abs=4)
    point.focus()
    page.keyboard.press("ArrowLeft")
    assert middle(point)[0] < middle(page.locator(".box"))[0] - 2
    page.get_by_role("button", name="Delete point 1 of box 1").click()
    assert (point.count(), page.locator(".box").count()) == (0, 1)
    propagate(page)
    assert shown_volume(page) == pytest.approx(volume, rel=0.01)


def test_a_click_on_a_box_changes_nothing(page):
    answered(page, "the liver")
    page.locator(".box").click()
    playwright.expect(page.locator(".box")).to_be_focused()
    playwright.expect(page.get_by_role("button", name="Propagate again")).to_be_disabled()


def test_an_answer_without_a_target_can_be_given_one(page):
    answered(page, "a unicorn")
    playwright.expect(page.locator(".result .status")).to_have_text("not in this scan")
    page.get_by_role("button", name="Add box").click()
    page.get_by_role("button", name="Put it at the crosshair").click()
    propagate(page)
    assert shown_volume(page) > 0
    wait_until(lambda: colored(page) > 0)


def test_another_slice_becomes_the_key_slice(page):
    answered(page, "the pancreas")
    wait_until(lambda: slice_number(page) != SHAPE[2] // 2 + 1)  # not in the middle any more
    number = slice_number(page)
    canvas(page).hover()
    page.mouse.wheel(0, -400)
    wait_until(lambda: slice_number(page) > number)
    page.get_by_role("button", name="Make slice").click()
    assert page.locator(".box").count() == 1
    moved = slice_number(page)
    propagate(page)
    page.keyboard.press("Home")
    page.keyboard.press("k")
    wait_until(lambda: slice_number(page) == moved != number)


def test_a_long_request_is_stopped(page, model):
    model.stopped.clear()
    ask(page, "slowly, please")
    playwright.expect(page.get_by_text("Looking at each slice")).to_be_visible()
    assert page.locator(".written").inner_text() == "Looking at each slice", "no half of a tag"
    page.get_by_role("button", name="Stop").click()
    playwright.expect(page.locator(".progress")).to_be_hidden()
    assert model.stopped.wait(10)
    assert page.locator(".masks li").count() == 0
    answered(page, "the liver")


def test_a_request_is_followed_by_asking_where_events_do_not_come_through(new_page, page, model):
    page.route("**/events", lambda route: route.abort())
    model.stopped.clear()
    ask(page, "slowly, please")
    playwright.expect(page.get_by_text("Looking at each slice")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    assert model.stopped.wait(10)
    playwright.expect(page.locator(".progress")).to_be_hidden()
    answered(page, "the liver")
    assert any("ERR_FAILED" in told for told in new_page.complaints), "events were asked for first"
    new_page.complaints[:] = [told for told in new_page.complaints if "ERR_FAILED" not in told]


def test_a_request_that_is_cancelled_from_elsewhere_is_told(page, model):
    model.stopped.clear()
    with page.expect_response("**/questions") as asked:
        ask(page, "slowly, please")
    playwright.expect(page.get_by_text("Looking at each slice")).to_be_visible()
    gone = page.request.delete(f"{page.url.split('#')[0]}api/requests/{asked.value.json()['request']}", headers=HEADERS)
    assert gone.status == 204 and model.stopped.wait(10)
    playwright.expect(page.get_by_text("The request was cancelled")).to_be_visible()
    assert page.get_by_label("What do you look for?").input_value() == "slowly, please", "to be asked again"


def test_the_place_in_the_queue_is_told(new_page, service, page):
    first = new_page()
    open_study(first, "ct.nii.gz")
    ask(first, "slowly, please")
    playwright.expect(first.get_by_text("Looking at each slice")).to_be_visible()
    ask(page, "the liver")
    playwright.expect(page.get_by_text("In the queue: 1 request is before yours")).to_be_visible()
    first.get_by_role("button", name="Stop").click()
    playwright.expect(page.get_by_role("heading", name="the liver")).to_be_visible(timeout=30_000)


def test_text_stays_text(new_page):
    page = new_page()
    open_study(page, HOSTILE_FILE)
    answered(page, HOSTILE)
    playwright.expect(page.locator("#history")).to_contain_text(HOSTILE)
    page.locator("#masks").get_by_role("button", name="Rename").click()
    name = "<b onclick=alert(1)>"
    page.get_by_label("New name of").fill(name)
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("heading", name=name)).to_be_visible()
    assert page.locator("main img, main b, main script, #choose-study img").count() == 0
    wait_until(lambda: colored(page) > 0)
    # A picture of the name that is no more may have been on its way.
    new_page.complaints[:] = [told for told in new_page.complaints if "404" not in told]


def test_keys(page):
    answered(page, "the liver")
    page.locator("body").click(position={"x": 5, "y": 5})
    wait_until(lambda: slice_number(page) != SHAPE[2] // 2 + 1)  # not in the middle any more
    key = slice_number(page)
    for keys, number in ((["ArrowUp"], key + 1), (["ArrowDown"] * 2, key - 1), (["End"], SHAPE[2]), (["PageDown"], 2)):
        for one in keys:
            page.keyboard.press(one)
        playwright.expect(page.locator(".plane[data-plane=axial] .slice-number")).to_have_text(f"{number} / {SHAPE[2]}")
    page.keyboard.press("3")
    assert page.get_by_role("button", name="bone").get_attribute("aria-pressed") == "true"
    page.keyboard.press("k")
    wait_until(lambda: colored(page) > 0)
    page.keyboard.press("b")
    wait_until(lambda: colored(page) == 0)
    page.keyboard.press("b")
    wait_until(lambda: colored(page) > 0)
    page.get_by_label("What do you look for?").fill("1b")  # keys are letters where one writes
    assert page.get_by_label("What do you look for?").input_value() == "1b"


def test_the_planes_are_linked(page):
    x, y = middle(canvas(page))
    page.mouse.click(x - 50, y + 30)  # to the patient's right, and posterior
    wait_until(lambda: slice_number(page, "sagittal") < SHAPE[0] / 2 and slice_number(page, "coronal") > SHAPE[1] / 2)
    page.mouse.click(x + 50, y - 30)
    wait_until(lambda: slice_number(page, "sagittal") > SHAPE[0] / 2 and slice_number(page, "coronal") < SHAPE[1] / 2)
    coronal = canvas(page, "coronal").bounding_box()
    page.mouse.click(coronal["x"] + coronal["width"] / 2, coronal["y"] + coronal["height"] * 0.3)
    wait_until(lambda: slice_number(page) > SHAPE[2] / 2 + 1)  # superior is on top


def test_zooming_keeps_what_is_under_the_pointer_and_boxes_on_the_picture(page):
    answered(page, "the liver")
    box = page.locator(".box")
    whole = box.bounding_box()
    stage = page.locator(".stage[data-plane=axial]").bounding_box()
    corner = whole["x"], whole["y"]
    page.mouse.move(*corner)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)  # e^0.5 = 1.65
    page.keyboard.up("Control")
    wait_until(lambda: box.bounding_box()["width"] > 1.5 * whole["width"])
    zoomed = box.bounding_box()
    assert (zoomed["x"], zoomed["y"]) == pytest.approx(corner, abs=1.5)
    page.keyboard.down("Shift")
    drag(page, (stage["x"] + 40, stage["y"] + 40), (stage["x"] + 70, stage["y"] + 60))
    page.keyboard.up("Shift")
    moved = box.bounding_box()
    assert (moved["x"] - zoomed["x"], moved["y"] - zoomed["y"]) == pytest.approx((30, 20), abs=1)
    page.keyboard.press("0")
    wait_until(lambda: box.bounding_box() == whole)


def test_two_fingers_zoom_and_shift_what_is_under_them(new_page):
    page = new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    open_study(page, "ct.nii.gz")
    answered(page, "the liver")
    x, y = middle(canvas(page))
    box = page.locator(".box")
    whole, number = box.bounding_box(), slice_number(page)
    # Twice as far apart, 10 px to the right and down.
    touch(page, [(x - 30, y), (x + 30, y)], [(x - 50, y + 10), (x + 70, y + 10)])
    wait_until(lambda: box.bounding_box()["width"] == pytest.approx(2 * whole["width"], abs=1))
    zoomed = box.bounding_box()
    expected = x + 10 + 2 * (whole["x"] - x), y + 10 + 2 * (whole["y"] - y)
    assert (zoomed["x"], zoomed["y"]) == pytest.approx(expected, abs=1.5)
    assert slice_number(page) == number, "two fingers do not scroll"
    playwright.expect(page.get_by_role("button", name="Propagate again")).to_be_disabled()  # nor drag the box


def test_masks_are_hidden_and_deleted(page):
    answered(page, "the liver")
    wait_until(lambda: colored(page) > 0)
    page.get_by_label("Show the liver").uncheck()
    wait_until(lambda: colored(page) == 0)
    page.wait_for_load_state("networkidle")  # no picture of a mask that is no more
    page.get_by_role("button", name="Delete the liver").click()
    page.get_by_role("button", name="Yes, delete the liver").click()
    playwright.expect(page.locator("#masks")).to_be_hidden()
    playwright.expect(page.locator("#history")).to_contain_text("deleted")


def test_no_more_can_be_written_than_the_service_takes(page):
    length = "(field) => field.maxLength"
    assert page.get_by_label("What do you look for?").evaluate(length) == MAX_CHARACTERS
    answered(page, "the liver")
    page.get_by_role("button", name="Rename the liver").click()
    assert page.get_by_label("New name of the liver").evaluate(length) == LONGEST_NAME


def test_a_file_is_uploaded_and_a_bad_one_refused_in_words(new_page, service, tmp_path):
    page = new_page()
    bad = tmp_path / "notes.nii.gz"
    bad.write_bytes(b"not a volume")
    page.set_input_files("#study-file", bad)
    playwright.expect(page.locator("#studies .message.is-error")).to_contain_text("is not a NIfTI volume")
    new_page.complaints[:] = [told for told in new_page.complaints if "422" not in told]  # Chromium tells of each
    page.set_input_files("#study-file", service.folder.root / "ct.nii.gz")
    playwright.expect(page.locator("#choose-study")).to_contain_text("ct.nii.gz")


def test_a_reload_shows_the_study_again(page):
    answered(page, "the liver")
    page.reload()
    playwright.expect(page.get_by_role("heading", name="the liver")).to_be_visible()
    wait_until(lambda: colored(page) > 0)


def test_a_key_is_asked_for(service, browser, new_page):
    with running(service, key="open sesame") as locked:
        page = new_page(locked)
        page.get_by_label("Key, as given").fill("wrong")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#key .message")).to_contain_text("not the key")
        page.get_by_label("Key, as given").fill("open sesame")
        page.keyboard.press("Enter")
        open_study(page, "ct.nii.gz")
        answered(page, "the liver")
        wait_until(lambda: colored(page) > 0)
        page.close()
    new_page.complaints[:] = [told for told in new_page.complaints if "401" not in told]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_phone_shows_one_plane_and_does_not_scroll_sideways(new_page, scheme):
    page = new_page(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme=scheme)
    open_study(page, HOSTILE_FILE)
    answered(page, HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert [canvas(page, plane).is_visible() for plane in ("axial", "coronal", "sagittal")] == [True, False, False]
    page.get_by_role("button", name="Coronal", exact=True).click()
    assert [canvas(page, plane).is_visible() for plane in ("axial", "coronal", "sagittal")] == [False, True, False]
    number = slice_number(page, "coronal")
    x, y = middle(canvas(page, "coronal"))
    touch(page, [(x, y)], [(x, y - 60)])
    wait_until(lambda: slice_number(page, "coronal") > number)


def test_all_that_can_be_pressed_has_a_name_and_text_is_in_contrast(page):
    """4.5 to 1 is what WCAG asks of text; disabled buttons are exempt."""
    answered(page, "the liver")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, [tabindex]")].filter(one =>
          !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).map(one => one.id)"""
    )
    assert nameless == []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(200)  # buttons change their colours slowly
        faint = page.evaluate(
            """() => {
              const parts = color => color.match(/[\\d.]+/g).map(Number);
              const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
              const ground = one => {
                for (; one; one = one.parentElement) {
                  const color = parts(getComputedStyle(one).backgroundColor);
                  if (color.length === 3 || color[3] === 1) return color;
                }
                return [255, 255, 255];
              };
              return [...document.querySelectorAll("header *, main *, #alerts *")]
                .filter(one => !one.disabled && one.checkVisibility() &&
                  [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
                .map(one => {
                  const [a, b] = [light(parts(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
                  return [one.textContent, (a + 0.05) / (b + 0.05)];
                })
                .filter(([, contrast]) => contrast < 4.5);
            }"""
        )
        assert faint == [], scheme


@pytest.mark.slow
@pytest.mark.real_ct
def test_a_real_ct_with_the_shipped_models(real_ct_path, new_page, tmp_path):
    """As a user starts it: a process of its own, on the folder of the CT."""
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(real_ct_path, studies)
    with started_server(studies) as base:
        page = new_page(base)
        open_study(page, real_ct_path.name)
        answered(page, "the spleen")
        wait_until(lambda: colored(page) > 0)
        volume = shown_volume(page)
        x, y = middle(page.locator(".box"))
        drag(page, (x, y), (x - 15, y + 40))
        propagate(page)
        assert shown_volume(page) != volume
        mask, image = nib.load(downloaded(page, "NIfTI", tmp_path)), nib.load(real_ct_path)
        assert np.array_equal(mask.affine, image.affine) and mask.shape == image.shape
        millilitres = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
        assert millilitres == pytest.approx(shown_volume(page), abs=0.06)
        ask(page, "the left kidney")
        page.get_by_role("button", name="Stop").click()
        playwright.expect(page.locator(".progress")).to_be_hidden(timeout=30_000)
        assert page.locator(".masks li").count() == 1
        page.close()
