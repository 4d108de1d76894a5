// Server-sent events over fetch: EventSource neither shows event types it was not told of, nor why it was refused. Reconnects
// by itself from the last id, waits while the page is hidden for long, and tells how it fares.
import { refusal } from "./http";

export interface Frame {
  event: string;
  id?: string;
  data: string;
}

export type Health = "connecting" | "live" | "reconnecting" | "refused";

/** Cuts a stream of text into frames. */
export class Frames {
  private rest = "";
  retry?: number;

  push(text: string): Frame[] {
    const parts = (this.rest + text).split("\n\n");
    this.rest = parts.pop() ?? "";
    return parts.flatMap((part) => {
      const frame: Frame = { event: "message", data: "" };
      let data: string | undefined;
      for (const line of part.split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const value = line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        const name = line.slice(0, colon);
        if (name === "event") frame.event = value;
        else if (name === "id") frame.id = value;
        else if (name === "data") data = data === undefined ? value : `${data}\n${value}`;
        else if (name === "retry") this.retry = Number(value);
      }
      if (data === undefined) return [];
      frame.data = data;
      return [frame];
    });
  }
}

export interface Stream {
  close(): void;
}

interface Options {
  /** The address to open after this id, or from the beginning. */
  url: (after: string | undefined) => string;
  after?: string;
  onFrames: (frames: Frame[]) => void;
  onHealth: (health: Health, problem?: string) => void;
  /** The server does not know the cursor: begin anew. */
  onLost?: () => void;
  /** Keeps the connection while the page is hidden. */
  always?: () => boolean;
}

/** Browsers open six connections to a host, over all tabs: hidden ones give theirs back. */
const HIDDEN_MS = 20_000;
/** The server says something every nine seconds. */
const SILENT_MS = 25_000;
const LONGEST_WAIT = 5_000;

export function follow(options: Options): Stream {
  let last = options.after;
  let closed = false;
  let tries = 0;
  let control: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let asleep = false;

  async function run() {
    control = new AbortController();
    const mine = control;
    const watch = { timer: undefined as ReturnType<typeof setTimeout> | undefined };
    const awake = () => {
      clearTimeout(watch.timer);
      watch.timer = setTimeout(() => mine.abort(), SILENT_MS);
    };
    try {
      awake();
      const response = await fetch(options.url(last), { signal: mine.signal, headers: { accept: "text/event-stream" } });
      if (!response.ok || !response.body) {
        const problem = await refusal(response);
        if (problem.status === 409 && options.onLost) {
          last = undefined;
          options.onLost();
        } else if (problem.status < 500 && problem.status !== 408 && problem.status !== 429) {
          closed = true;
          options.onHealth("refused", problem.message);
          return;
        }
        throw problem;
      }
      options.onHealth("live");
      const frames = new Frames();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        awake();
        const found = frames.push(value);
        if (found.length > 0) options.onFrames(found);
        // Only what was taken is behind us: a listener that failed gets it again.
        last = found.findLast((frame) => frame.id !== undefined)?.id ?? last;
        tries = 0;
      }
    } catch {
      // Whatever it was, the remedy is the same: open it again.
    } finally {
      clearTimeout(watch.timer);
    }
    if (closed || asleep || mine !== control) return;
    options.onHealth("reconnecting");
    const wait = Math.min(LONGEST_WAIT, 250 * 2 ** tries) * (0.75 + Math.random() / 2);
    tries += 1;
    timer = setTimeout(run, tries === 1 ? 100 : wait);
  }

  function onVisibility() {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => {
        if (options.always?.()) return;
        asleep = true;
        clearTimeout(timer);
        control?.abort();
      }, HIDDEN_MS);
    } else if (asleep) {
      asleep = false;
      tries = 0;
      void run();
    }
  }

  function onOnline() {
    if (closed || asleep) return;
    tries = 0;
    clearTimeout(timer);
    control?.abort();
    void run();
  }

  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", onOnline);
  options.onHealth("connecting");
  void run();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(hiding);
      control?.abort();
      document.removeEventListener("visibilitychange", onVisibility);
      window.removeEventListener("online", onOnline);
    },
  };
}
