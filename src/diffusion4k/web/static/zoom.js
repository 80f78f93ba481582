// One picture, whole or at 100%: a thin layer over OpenSeadragon, which is loaded before as a
// plain script. At 100% one pixel of the picture is one pixel of the screen, on the spot: the
// picture is moved to whole pixels and not smoothed.

/* global OpenSeadragon */

const COARSEST = 8; // Levels below 256 pixels save nothing.
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

// OpenSeadragon writes a style into the page, which our policy forbids, unless it finds this mark:
// an element of that name, but of no language that browsers know.
const mark = document.createElementNS("urn:mark", "style");
mark.setAttribute("data-openseadragon-mobile-css", "");
document.head.append(mark);

export class Zoom {
  /**
   * @param {HTMLElement} element where the picture goes
   * @param {{shown: () => void, failed: (message: string) => void, scaled: (percent: number,
   *   fit: boolean) => void}} told what the page wants to know: all pixels of the view are there;
   *   they cannot be; how large the picture is seen
   */
  constructor(element, told) {
    this.told = told;
    this.fit = true;
    this.viewer = OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      animationTime: STILL.matches ? 0 : 0.2,
      visibilityRatio: 1,
      constrainDuringPan: true,
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 1,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { dblTapToZoom: false, flickEnabled: false },
    });
    // Keys are the page's.
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
    });
    this.viewer.addHandler("canvas-double-click", (event) => this.toggle(event.position));
    this.viewer.addHandler("zoom", () => this.rescaled());
    // Whether the whole is wanted: then it is fitted again when the window changes.
    this.viewer.addHandler("canvas-scroll", (event) => {
      if (event.scroll > 0) this.fit = false;
    });
    this.viewer.addHandler("canvas-pinch", (event) => {
      if (event.distance > event.lastDistance) this.fit = false;
    });
    this.viewer.addHandler("animation-finish", () => this.snap());
    this.viewer.addHandler("resize", () => requestAnimationFrame(() => this.fit && this.home()));
    this.viewer.addHandler("tile-load-failed", (event) => this.fail(event.tile.getUrl()));
    this.pointer = null;
    element.addEventListener("pointermove", (event) => {
      const box = element.getBoundingClientRect();
      this.pointer = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    });
    element.addEventListener("pointerleave", () => {
      this.pointer = null;
    });
  }

  /** Show a picture: its sizes, where its tiles are, and what it is in words. */
  open({ width, height, top, tile, overlap }, tiles, label) {
    this.close();
    this.tiles = tiles;
    this.fit = true;
    this.viewer.canvas.setAttribute("role", "img");
    this.viewer.canvas.setAttribute("aria-label", label);
    const opened = (this.opened = {});
    this.viewer.addTiledImage({
      tileSource: {
        width,
        height,
        tileSize: tile,
        tileOverlap: overlap,
        minLevel: Math.min(COARSEST, top),
        maxLevel: top,
        getTileUrl: (level, column, row) => `${tiles}/${level}/${column}/${row}`,
      },
      success: ({ item }) => {
        if (this.opened !== opened) return;
        this.home();
        const loaded = () => {
          if (this.opened === opened && item.getFullyLoaded() && !this.failed) this.told.shown();
        };
        item.addHandler("fully-loaded-change", loaded);
        loaded();
      },
    });
  }

  close() {
    this.opened = null;
    this.failed = false;
    this.viewer.world.removeAll();
  }

  get picture() {
    return this.viewer.world.getItemAt(0);
  }

  /** Zoom at which one pixel of the picture is one of the screen. */
  get full() {
    return this.picture.imageToViewportZoom(1 / devicePixelRatio);
  }

  /** The whole picture, but never larger than it is. */
  home() {
    if (!this.picture) return;
    const { viewport } = this.viewer;
    this.fit = true;
    viewport.goHome(true);
    if (viewport.getHomeZoom() > this.full) viewport.zoomTo(this.full, undefined, true);
    this.rescaled();
  }

  /** Between the whole and 100%, there around `position` or the pointer. */
  toggle(position = this.pointer) {
    if (!this.picture) return;
    if (!this.fit) {
      this.home();
      return;
    }
    const { viewport } = this.viewer;
    const centre = position ? viewport.pointFromPixel(position) : viewport.getCenter();
    this.fit = false;
    viewport.zoomTo(this.full, undefined, true);
    viewport.panTo(centre, true);
    viewport.applyConstraints(true);
    this.snap();
    this.rescaled();
  }

  /** Move what is seen by parts of the view's width and height. */
  pan(right, down) {
    if (!this.picture) return;
    const { viewport } = this.viewer;
    const size = viewport.getContainerSize();
    const by = new OpenSeadragon.Point(right * size.x, down * size.y);
    viewport.panBy(viewport.deltaPointsFromPixels(by));
    viewport.applyConstraints();
  }

  rescaled() {
    if (!this.picture) return;
    const { viewport } = this.viewer;
    const scale = viewport.getZoom() / this.full;
    const whole = viewport.getZoom() <= Math.min(viewport.getHomeZoom(), this.full) * 1.001;
    if (whole) this.fit = true;
    this.picture.setImageSmoothingEnabled?.(scale < 0.999);
    this.viewer.drawer.setImageSmoothingEnabled(scale < 0.999);
    this.told.scaled(Math.round(scale * 100), whole);
  }

  snap() {
    if (!this.picture) return;
    const { viewport } = this.viewer;
    if (Math.abs(viewport.getZoom() / this.full - 1) > 1e-3) return;
    const corner = viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0)).times(devicePixelRatio);
    const off = new OpenSeadragon.Point(
      corner.x - Math.round(corner.x),
      corner.y - Math.round(corner.y),
    ).divide(devicePixelRatio);
    if (Math.hypot(off.x, off.y) > 1e-3) {
      viewport.panBy(viewport.deltaPointsFromPixels(off), true);
    }
  }

  async fail(url) {
    // What is given up because another picture is opened is no failure.
    if (this.failed || !this.opened || !url.startsWith(`${this.tiles}/`)) return;
    this.failed = true;
    const opened = this.opened;
    let message = "the server does not answer";
    try {
      const response = await fetch(url);
      message = response.ok ? "a part of it could not be shown" : await response.text();
    } catch {
      // It is as said.
    }
    if (this.opened !== opened) return;
    this.viewer.world.removeAll();
    this.told.failed(message);
  }
}
