// Several pictures seen alike: whoever moves one moves all. A layer over OpenSeadragon, which is
// loaded before; both are plain scripts, since a page opened from a file may load no modules.
//
// What all show is one view: the centre, as parts of the width and height, and the scale. A scale is
// counted in one of two units, which differ only for pictures of different sizes:
//   pixels  pixels of the screen for one of the picture: every picture shows its own pixels
//   parts   of the size at which the picture is seen whole: every picture shows the same part
// At 100% one pixel of the picture is one of the screen, on the spot: pictures are moved to whole
// pixels and not smoothed.

/* global OpenSeadragon */
/* exported LinkedViewers */

class LinkedViewers {
  static #COARSEST = 8; // Levels below 256 pixels save nothing.
  static #CLOSEST = 8; // Screen pixels for one of the picture.

  /**
   * @param {HTMLElement[]} elements where the pictures go, each positioned and with a size
   * @param {{shown?: () => void, failed?: (index: number) => void, scaled?: (percents: number[]) =>
   *   void}} told what the page wants to know: all pixels of all views are there; a part of a
   *   picture cannot be loaded; how large each is seen (NaN where there is none)
   */
  constructor(elements, told = {}) {
    LinkedViewers.#keepStyles();
    this.told = told;
    this.unit = "pixels";
    this.whole = true;
    this.view = { x: 0.5, y: 0.5, scale: 1 };
    this.pictures = [];
    this.viewers = elements.map((element, index) => this.#viewer(element, index));
    const observer = new ResizeObserver(() => this.#fitHolders());
    elements.forEach((element) => observer.observe(element));
    addEventListener("resize", () => this.#fitHolders());
  }

  /**
   * Show other pictures, whole.
   * @param {({width: number, height: number, top: number, tile: number, overlap: number, label:
   *   string, url: (level: number, column: number, row: number) => string} | null)[]} pictures one
   *   for each element: its size, its highest level, its tiles; null leaves the element empty
   */
  open(pictures) {
    this.pictures = pictures;
    this.whole = true;
    this.leader = null;
    this.unit = this.#sizesDiffer() ? "parts" : "pixels";
    const opened = (this.opened = {});
    this.viewers.forEach((viewer, index) => {
      viewer.world.removeAll();
      const picture = pictures[index];
      const label = picture?.label ?? "no picture";
      viewer.canvas.setAttribute("role", "img");
      viewer.canvas.setAttribute("aria-label", label);
      if (!picture) return;
      const { width, height, top, tile, overlap, url } = picture;
      const tileSource = {
        ...{ width, height, tileSize: tile, tileOverlap: overlap, getTileUrl: url },
        ...{ minLevel: Math.min(LinkedViewers.#COARSEST, top), maxLevel: top },
      };
      const success = ({ item }) => {
        if (this.opened !== opened) return;
        item.addHandler("fully-loaded-change", () => this.#loaded());
        this.home();
        this.#loaded();
      };
      viewer.addTiledImage({ tileSource, success });
    });
    if (!pictures.some(Boolean)) this.told.shown?.();
  }

  /** Count scales in "pixels" or in "parts". */
  setUnit(unit) {
    if (!this.#first()) return;
    const leader = this.leader ?? this.#first();
    this.unit = unit;
    if (this.whole) this.home();
    else this.#follow(leader);
  }

  /** Whole pictures, but the largest never larger than it is. */
  home() {
    const open = this.#open();
    if (!open.length) return;
    this.whole = true;
    const fits = open.map((viewer) => viewer.viewport.getHomeZoom() / LinkedViewers.#full(viewer));
    const scale =
      this.unit === "pixels" ? Math.min(1, ...fits) : Math.min(1, 1 / Math.min(...fits));
    this.#show({ x: 0.5, y: 0.5, scale });
    for (const viewer of open) viewer.viewport.minZoomLevel = viewer.viewport.getZoom();
  }

  /** Whether every picture is seen at 100%. */
  get isFull() {
    const scales = this.#open().map((viewer) => LinkedViewers.#scale(viewer));
    return scales.length > 0 && scales.every((scale) => Math.abs(scale - 1) < 1e-3);
  }

  /** Every picture at 100%, around a point of the view of one of them or where they are. */
  full(viewer = this.pointed?.viewer, position = this.pointed?.position) {
    if (!this.#first()) return;
    let { x, y } = this.view;
    if (position && this.#open().includes(viewer)) {
      const { viewport } = viewer;
      const point = viewport.pointFromPixel(position);
      [x, y] = [point.x, point.y * LinkedViewers.#ratio(viewer)];
    }
    this.whole = false;
    this.unit = "pixels";
    this.#show({ x, y, scale: 1 });
    for (const each of this.#open()) this.#quietly(() => each.viewport.applyConstraints(true));
    this.#follow(viewer && this.#open().includes(viewer) ? viewer : this.#first());
    this.snap();
  }

  /** Between whole pictures and 100%. */
  toggle(viewer, position) {
    if (!this.isFull || this.whole) {
      this.full(viewer, position);
    } else {
      if (this.#sizesDiffer()) this.unit = "parts";
      this.home();
    }
  }

  /** Come closer by a factor. */
  zoom(factor) {
    const viewer = this.leader ?? this.#first();
    if (!viewer) return;
    if (factor > 1) this.whole = false;
    viewer.viewport.zoomBy(factor);
    viewer.viewport.applyConstraints();
  }

  /** Move what is seen by parts of the view's width and height. */
  pan(right, down) {
    const viewer = this.leader ?? this.#first();
    if (!viewer) return;
    const { viewport } = viewer;
    const size = viewport.getContainerSize();
    const by = new OpenSeadragon.Point(right * size.x, down * size.y);
    viewport.panBy(viewport.deltaPointsFromPixels(by));
    viewport.applyConstraints();
  }

  /** Move pictures that are at 100% to whole pixels of the screen. */
  snap() {
    for (const viewer of this.#open()) {
      const { viewport } = viewer;
      if (Math.abs(LinkedViewers.#scale(viewer) - 1) > 1e-3) continue;
      this.#quietly(() => {
        viewport.zoomTo(LinkedViewers.#full(viewer), undefined, true);
        const corner = viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0));
        const device = corner.times(devicePixelRatio);
        const off = device.minus(device.apply(Math.round)).divide(devicePixelRatio);
        viewport.panBy(viewport.deltaPointsFromPixels(off), true);
      });
    }
    this.#rescaled();
  }

  #viewer(element, index) {
    const holder = document.createElement("div");
    holder.style.position = "absolute";
    element.append(holder);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const viewer = OpenSeadragon({
      ...{ element: holder, drawer: "canvas", showNavigationControl: false },
      ...{ animationTime: still ? 0 : 0.2, visibilityRatio: 1, constrainDuringPan: true },
      maxZoomPixelRatio: LinkedViewers.#CLOSEST,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblTapToZoom: false, flickEnabled: false },
      gestureSettingsPen: { clickToZoom: false, dblTapToZoom: false, flickEnabled: false },
    });
    // Keys are the page's.
    viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
    });
    viewer.addHandler("canvas-double-click", (event) => this.toggle(viewer, event.position));
    viewer.addHandler("canvas-scroll", (event) => {
      if (event.scroll > 0) this.whole = false;
    });
    viewer.addHandler("canvas-pinch", (event) => {
      if (event.distance > event.lastDistance) this.whole = false;
    });
    const lead = () => {
      if (!this.following) this.leader = viewer;
    };
    viewer.addHandler("zoom", lead);
    viewer.addHandler("pan", lead);
    viewer.addHandler("viewport-change", () => {
      if (viewer === this.leader && !this.following) this.#follow(viewer);
    });
    viewer.addHandler("animation-finish", () => viewer === this.leader && this.snap());
    // OpenSeadragon moves a resized picture as it sees fit, right after it has told us.
    viewer.addHandler("resize", () => {
      this.following = true;
      queueMicrotask(() => {
        this.following = false;
        this.#restore();
      });
    });
    viewer.addHandler("tile-load-failed", ({ tiledImage }) => {
      // What is given up because others are opened is no failure.
      if (viewer.world.getIndexOfItem(tiledImage) >= 0) this.told.failed?.(index);
    });
    holder.addEventListener("pointermove", (event) => {
      const box = holder.getBoundingClientRect();
      const position = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
      this.pointed = event.pointerType === "mouse" ? { viewer, position } : null;
    });
    holder.addEventListener("pointerleave", () => {
      this.pointed = null;
    });
    return viewer;
  }

  /** A canvas that does not lie on whole pixels of the screen would be smeared over them. */
  #fitHolders() {
    for (const { element: holder } of this.viewers) {
      const box = holder.parentElement.getBoundingClientRect();
      const inwards = (from) => Math.ceil(from * devicePixelRatio - 0.01) / devicePixelRatio - from;
      const whole = (size) => Math.floor(size * devicePixelRatio + 0.01) / devicePixelRatio;
      holder.style.left = `${inwards(box.left)}px`;
      holder.style.top = `${inwards(box.top)}px`;
      // Elements of one size shall have views of one size, though a part of a pixel is cut off.
      holder.style.width = `${whole(box.width)}px`;
      holder.style.height = `${whole(box.height)}px`;
    }
  }

  #restore() {
    if (this.whole) {
      this.home();
    } else if (this.#first()) {
      this.#show(this.view);
      this.snap();
    }
  }

  #follow(leader) {
    const { viewport } = leader;
    const centre = viewport.getCenter(true);
    const scale = viewport.getZoom(true) / this.#unitZoom(leader);
    this.view = { x: centre.x, y: centre.y * LinkedViewers.#ratio(leader), scale };
    this.#apply(this.#open().filter((viewer) => viewer !== leader));
    this.#rescaled();
  }

  #show(view) {
    this.view = view;
    this.#apply(this.#open());
    this.#rescaled();
  }

  #apply(viewers) {
    const { x, y, scale } = this.view;
    for (const viewer of viewers) {
      const { viewport } = viewer;
      const centre = new OpenSeadragon.Point(x, y / LinkedViewers.#ratio(viewer));
      this.#quietly(() => {
        viewport.zoomTo(scale * this.#unitZoom(viewer), undefined, true);
        viewport.panTo(centre, true);
      });
    }
  }

  /** Move a viewer without its taking the lead. */
  #quietly(move) {
    this.following = true;
    move();
    this.following = false;
  }

  #rescaled() {
    const percents = this.viewers.map((viewer) => {
      const item = viewer.world.getItemAt(0);
      if (!item) return NaN;
      const scale = LinkedViewers.#scale(viewer);
      const smooth = scale < 0.999;
      if (viewer.smooth !== smooth) viewer.drawer.setImageSmoothingEnabled(smooth); // draws anew
      viewer.smooth = smooth;
      return 100 * scale;
    });
    this.told.scaled?.(percents);
  }

  #loaded() {
    const expected = this.pictures.filter(Boolean).length;
    const items = this.#open().map((viewer) => viewer.world.getItemAt(0));
    if (items.length === expected && items.every((item) => item.getFullyLoaded())) {
      this.told.shown?.();
    }
  }

  #open() {
    return this.viewers.filter((viewer) => viewer.world.getItemCount() > 0);
  }

  #first() {
    return this.#open()[0];
  }

  #sizesDiffer() {
    const sizes = this.pictures.filter(Boolean).map(({ width, height }) => `${width}x${height}`);
    return new Set(sizes).size > 1;
  }

  /** The zoom of a viewer at which the scale is 1. */
  #unitZoom(viewer) {
    return this.unit === "pixels" ? LinkedViewers.#full(viewer) : viewer.viewport.getHomeZoom();
  }

  /** The zoom of a viewer at which one pixel of the picture is one of the screen. */
  static #full(viewer) {
    return viewer.world.getItemAt(0).imageToViewportZoom(1 / devicePixelRatio);
  }

  static #scale(viewer) {
    return viewer.viewport.getZoom() / LinkedViewers.#full(viewer);
  }

  /** Width by height: OpenSeadragon counts both axes in widths of the picture. */
  static #ratio(viewer) {
    const { x, y } = viewer.world.getItemAt(0).getContentSize();
    return x / y;
  }

  /** OpenSeadragon writes a style into the page, which a policy may forbid, unless it finds a mark:
   * an element of that name, but of no language that browsers know. */
  static #keepStyles() {
    if (document.querySelector("[data-openseadragon-mobile-css]")) return;
    const mark = document.createElementNS("urn:mark", "style");
    mark.setAttribute("data-openseadragon-mobile-css", "");
    document.head.append(mark);
  }
}
