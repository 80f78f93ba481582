"""The comparison page of six 4096x4096 images: how fast it is made, opens and zooms.

    python benchmarks/compare_page.py [SIDE]

Making tiles: ours beside a plain loop with Pillow that decodes each image, cuts the same tiles and
saves them one after the other, the highest level as PNG of the fastest compression, the others as
JPEG. Ours also measures GLCM Score and Compression Ratio on the way; that is told apart.

Opening: from the call until every pixel of the first prompt's six views is there, in a fresh
Chromium with an empty cache. Zooming: once the tiles have been seen, from each step until the frame
after it is there (motion turned off, as an animation takes what it is told to).
"""

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from common import compare, save, seconds
from PIL import Image, ImageFilter
from playwright.sync_api import Page, sync_playwright

from diffusion4k.compare.build import compare as build
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.web.deepzoom import TILE, Pyramid

MODELS = 6
STEPS = 12  # into the picture, and as many out again
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium"
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")

ZOOM = """async (steps) => {
  const next = () => new Promise((done) => requestAnimationFrame(done));
  const frame = async () => { await next(); await next(); };
  const loaded = () => viewers.viewers.every((v) => v.world.getItemAt(0).getFullyLoaded());
  const times = [];
  for (const pass of ["to load", "timed"]) {
    viewers.home();
    await frame();
    for (const factor of [...Array(steps).fill(1.25), ...Array(steps).fill(0.8)]) {
      const start = performance.now();
      viewers.zoom(factor);
      await frame();
      while (!loaded()) await frame();
      if (pass === "timed") times.push(performance.now() - start);
    }
  }
  return times;
}"""


def make_images(folder: Path, side: int) -> list[Path]:
    """A photograph as six models might have made it: ever softer."""
    photograph = open_rgb(photo_folder("pocket") / "stream.jpg").resize((side, side))
    for model in range(MODELS):
        place = folder / f"model-{model}"
        place.mkdir()
        image = photograph.filter(ImageFilter.GaussianBlur(model / 3)) if model else photograph
        image.save(place / "stream.jpg", quality=95)
    return sorted(folder.iterdir())


def pillow_loop(folders: list[Path], out: Path) -> int:
    """The reference; returns how many tiles it wrote."""
    count = 0
    for folder in folders:
        image = Image.open(folder / "stream.jpg").convert("RGB")
        sizes = Pyramid(*image.size)
        for level in range(sizes.top, 7, -1):
            place = out / folder.name / str(level)
            place.mkdir(parents=True, exist_ok=True)
            width, height = sizes.size(level)
            for row in range(-(-height // TILE)):
                for column in range(-(-width // TILE)):
                    tile = image.crop(sizes.box(level, column, row))
                    name = place / f"{column}_{row}"
                    if level == sizes.top:
                        tile.save(f"{name}.png", compress_level=1)
                    else:
                        tile.save(f"{name}.jpg", quality=92, subsampling=0)
                    count += 1
            image = image.reduce(2)
    return count


def open_page(page: Page, address: str) -> None:
    """Until all that is seen is there."""
    page.goto(address)
    page.wait_for_selector("html[data-seen=true]")


def main() -> None:
    """Print and save all three."""
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        (folder / "in").mkdir()
        folders = make_images(folder / "in", side)
        tiles = pillow_loop(folders, folder / "loop")

        def ours() -> None:
            shutil.rmtree(folder / "page", ignore_errors=True)
            build([str(model) for model in folders], folder / "page")

        def reference() -> None:
            shutil.rmtree(folder / "loop", ignore_errors=True)
            pillow_loop(folders, folder / "loop")

        made = compare(ours, reference, repeats=3)
        rates = tiles / made.ours_median, tiles / made.reference_median
        print(f"{tiles} tiles of {MODELS} images of {side}x{side}: {made}")
        print(f"{rates[0]:.0f} tiles/s (with both metrics), plain Pillow {rates[1]:.0f} tiles/s")

        address = (folder / "page" / "index.html").as_uri()
        opening, steps = [], []
        for _ in range(3):
            browser = driver.chromium.launch(executable_path=BROWSER, args=list(OPTIONS))
            page = browser.new_page(
                viewport={"width": 1440, "height": 900}, reduced_motion="reduce"
            )
            page.goto("about:blank")
            opening.append(seconds(lambda page=page: open_page(page, address)))
            steps += page.evaluate(ZOOM, STEPS)
            browser.close()
    worst = sorted(steps)[int(0.95 * len(steps))]
    print(f"opens in {statistics.median(opening):.2f} s (each: {opening})")
    print(f"zoom steps: median {statistics.median(steps):.0f} ms, 95% below {worst:.0f} ms, "
          f"longest {max(steps):.0f} ms")  # fmt: skip
    result = {"side": side, "tiles": tiles, "made": made, "tiles_per_second": rates}
    save("compare_page", result | {"opening_seconds": opening, "zoom_milliseconds": steps})


if __name__ == "__main__":
    main()
