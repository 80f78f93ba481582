// How long someone has looked: not while the page was hidden, whatever the machine's clock does.

export class Clock {
  constructor() {
    this.since = null;
    this.spent = 0;
    document.addEventListener("visibilitychange", () => {
      if (this.since === null) return;
      if (document.hidden) this.#stop();
      else this.from = performance.now();
    });
  }

  /** The images are seen from now on. */
  start() {
    this.spent = 0;
    this.since = this.from = performance.now();
  }

  get seconds() {
    const running = this.since === null || document.hidden ? 0 : performance.now() - this.from;
    return Math.max(0, (this.spent + running) / 1000);
  }

  #stop() {
    this.spent += performance.now() - this.from;
  }
}
