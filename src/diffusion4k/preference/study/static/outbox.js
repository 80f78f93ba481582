// Answers on their way: kept in the browser until the server says that they are on its disk.

import { post } from "./server.js";

const WAITS = [1, 2, 4, 8, 15]; // seconds between attempts; the last one again and again

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** Whether to send it again may help: no answer, too many requests, or a server in trouble. */
const passes = (error) =>
  error.status === undefined || error.status === 429 || error.status >= 500;

export class Outbox {
  /**
   * @param {string} owner whose answers these are: another participant's are not to be sent
   * @param {{waiting: (message: string) => void, sent: () => void}} told what the page shows
   */
  constructor(owner, told) {
    this.place = `outbox/${owner}`;
    this.told = told;
  }

  /** What an earlier visit could not send. */
  get left() {
    try {
      return JSON.parse(localStorage.getItem(this.place));
    } catch {
      return null;
    }
  }

  /** Send a reply until it is kept; what the server refuses for good is thrown. */
  async send(reply) {
    this.keep(reply);
    for (let attempt = 0; ; attempt += 1) {
      try {
        const kept = await post("/api/answers", reply);
        this.keep(null);
        this.told.sent();
        return kept;
      } catch (error) {
        if (!passes(error)) {
          this.keep(null);
          throw error;
        }
        const wait = WAITS[Math.min(attempt, WAITS.length - 1)];
        this.told.waiting(
          `Your answer is not saved yet (${error.message.trim()}). It stays here and is sent again.`,
        );
        await pause(wait);
      }
    }
  }

  keep(reply) {
    try {
      if (reply) localStorage.setItem(this.place, JSON.stringify(reply));
      else localStorage.removeItem(this.place);
    } catch {
      // Where a browser keeps nothing, the answer is in this page alone.
    }
  }
}

/** A key by which the server knows a reply again that comes twice. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
