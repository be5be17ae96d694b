"""Takes the pictures of the page for bundle/docs/browser.md, with the shipped models and a real CT.

    apt-get install chromium
    python -m pip install -e ".[serve,browser]"
    python benchmarks/page_pictures.py example_ct.nii.gz --output bundle/docs/images

Asks for the spleen; makes a box around all of it, as a person would who sees that the box does not hold it;
and shows the same on a phone. The box belongs to the example CT of TotalSegmentator's tests.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# As root there is no sandbox; the others keep Chromium from calling its maker.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
QUESTION = "the spleen"
# Edges of the spleen on the key slice of the answer, in pixels of the axial picture.
SPLEEN_XYXY_PX = (78, 54, 109, 75)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium, that of the system: Playwright's own would be a download."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def started_server(studies: Path) -> Iterator[str]:
    """`medvol-r1 serve` on a folder; its address.

    Raises:
        RuntimeError: it ended before it was open, with its last words.
    """
    command = [sys.executable, "-m", "medvol_r1.web.serve", "--port", "0", "--studies", str(studies)]
    with tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            told = next((line for line in server.stdout if "http://" in line), None)
            if told is None:
                errors.seek(0)
                raise RuntimeError(errors.read())
            yield told[told.index("http://") :].split()[0]
        finally:
            server.terminate()
            server.wait()


def open_study(page: Page, name: str) -> None:
    """Chooses a study of the list."""
    page.locator(".others").get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#studies")).to_be_hidden(timeout=60_000)


def wait_for_request(page: Page) -> None:
    """Until what was asked for is there, and drawn."""
    expect(page.locator(".progress")).to_be_hidden(timeout=300_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)


def take_pictures(browser: Browser, url: str, study: str, output: Path) -> None:
    """Answer, correction, phone."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="dark")
    page = context.new_page()
    page.goto(url)
    open_study(page, study)
    page.get_by_label("What do you look for?").fill(QUESTION)
    page.keyboard.press("Enter")
    wait_for_request(page)
    take_picture(page, output / "browser_answer.png")
    draw_box(page, SPLEEN_XYXY_PX)
    page.get_by_role("button", name="Propagate again").click()
    wait_for_request(page)
    take_picture(page, output / "browser_correction.png")
    phone = browser.new_context(
        viewport=PHONE, color_scheme="light", is_mobile=True, has_touch=True, device_scale_factor=2,
        storage_state=context.storage_state(),
    ).new_page()  # fmt: skip
    phone.goto(page.url)
    wait_for_request(phone)
    take_picture(phone, output / "browser_phone.png")


def take_picture(page: Page, path: Path) -> None:
    """What is visible, without a focus ring or a button under the mouse."""
    page.locator("body").click(position={"x": 5, "y": 5})
    page.wait_for_timeout(300)
    page.screenshot(path=path)


def draw_box(page: Page, box_xyxy_px: tuple[int, int, int, int]) -> None:
    """Drags two corners of the answer's box with the mouse."""
    study = page.evaluate("fetch('/api/studies/' + location.hash.slice(1)).then(answer => answer.json())")
    left, top, right, bottom = study["masks"][0]["bbox_2d_list"][0]
    drawn = page.locator(".box").first.bounding_box()
    per_x, per_y = drawn["width"] / (right - left), drawn["height"] / (bottom - top)
    x1, y1, x2, y2 = box_xyxy_px
    for corner, x, y in (("nw", x1, y1), ("se", x2, y2)):
        page.locator(f".box [data-corner={corner}]").hover()
        page.mouse.down()
        page.mouse.move(drawn["x"] + (x - left) * per_x, drawn["y"] + (y - top) * per_y, steps=8)
        page.mouse.up()


def main() -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("image", type=Path, help="the CT")
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as studies, chromium() as browser:
        shutil.copy(options.image, studies)
        with started_server(Path(studies)) as url:
            take_pictures(browser, url, options.image.name, options.output)
    print(f"Wrote the pictures to {options.output}")


if __name__ == "__main__":
    main()
