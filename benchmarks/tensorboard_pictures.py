"""Takes the pictures of TensorBoard for bundle/docs/train.md, of a training of stage 2.

    apt-get install chromium
    python -m pip install -e ".[browser]"
    python benchmarks/tensorboard_pictures.py bundle/runs/grpo/tensorboard --output bundle/docs/images

The folder is any that a run wrote its events to; without network, TensorBoard's page comes from its wheel.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from page_pictures import chromium
from PIL import Image
from playwright.sync_api import Browser, Page
from tensorboard import program

# What to watch first, by the regular expression of the page's own filter.
CURVES = "reward/(R_|total)|policy/entropy"
SMOOTHING = 0.9
VIEWPORT = {"width": 1360, "height": 1000}
EVIDENCE_VIEWPORT = {"width": 1960, "height": 1200}
WIDEST_PX, COLORS = 1100, 256


def started_tensorboard(events: Path) -> str:
    """TensorBoard on a folder, in a thread of this process; its address on loopback."""
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(events), "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"])
    return server.launch()


def take_pictures(browser: Browser, url: str, output: Path) -> None:
    """Curves; a group of answers as text; the evidence of its best one."""
    page = opened(browser, f"{url}?smoothing={SMOOTHING}&tagFilter={CURVES}#timeseries", "scalar-card")
    page.get_by_text("Enable step selection").click()  # a table below each curve
    page.get_by_role("button", name="Settings").click()  # a column beside them
    take_picture(page, ".card-grid", output / "tensorboard_curves.png")
    page = opened(browser, f"{url}#text", "tf-text-loader pre")
    take_picture(page, "tf-text-loader", output / "tensorboard_answers.png")
    page = opened(browser, f"{url}#images", "tf-image-loader img")
    page.set_viewport_size(EVIDENCE_VIEWPORT)
    page.get_by_text("Show actual image size").click()
    take_picture(page, "tf-image-loader", output / "tensorboard_evidence.png")


def opened(browser: Browser, url: str, shown: str) -> Page:
    """A page on which something is visible; TensorBoard reads its events little by little."""
    page = browser.new_page(viewport=VIEWPORT)
    page.goto(url)
    page.locator(shown).first.wait_for(timeout=120_000)
    page.wait_for_load_state("networkidle")
    return page


def take_picture(page: Page, part: str, path: Path) -> None:
    """A part of the page, in few colours: its own are few, and those of the evidence are grey."""
    page.wait_for_timeout(2000)  # it moves what it shows into place
    with TemporaryDirectory() as folder:
        taken = Path(folder) / "taken.png"
        page.locator(part).first.screenshot(path=taken)
        picture = Image.open(taken).convert("RGB")
        picture.thumbnail((WIDEST_PX, WIDEST_PX))
        # This method keeps small areas of a colour, as boxes.
        picture.quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    page.close()


def main() -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("events", type=Path, help="folder of event files")
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    options = parser.parse_args()
    with chromium() as browser:
        take_pictures(browser, started_tensorboard(options.events), options.output)
    print(f"Wrote the pictures to {options.output}")


if __name__ == "__main__":
    main()
